import { createMemoryFiles } from '@kvlr/checkpoint';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { loadChatTemplate } from './chat-template.ts';

/** ChatML, as many models have it. */
const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const conversation = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hello' },
];

const load = (config: object, jinja?: string) =>
  loadChatTemplate(
    createMemoryFiles({
      'tokenizer_config.json': JSON.stringify(config),
      ...(jinja !== undefined && { 'chat_template.jinja': jinja }),
    }),
  );

describe('loadChatTemplate', () => {
  it('writes a conversation as the template has it', async () => {
    const template = await load({ chat_template: chatMl });
    const turns = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n';
    expect(template.render(conversation)).toBe(`${turns}<|im_start|>assistant\n`);
    expect(template.render(conversation, { addGenerationPrompt: false })).toBe(turns);
  });

  it('knows the special tokens and variables of one’s own', async () => {
    const source = '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{% if loud %}!{% endif %}';
    const template = await load({ chat_template: source, bos_token: '<s>', eos_token: { content: '</s>' } });
    expect(template.render(conversation)).toBe('<s>Be brief.</s>');
    expect(template.render(conversation, { variables: { loud: true } })).toBe('<s>Be brief.</s>!');
  });

  it('takes the file before the config, and of several templates the default one', async () => {
    expect((await load({ chat_template: 'config' }, 'file')).render(conversation)).toBe('file');
    const several = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'usual' },
    ];
    expect((await load({ chat_template: several })).render(conversation)).toBe('usual');
  });

  it('says so when there is no template, a broken one, or one that refuses', async () => {
    await expect(load({})).rejects.toMatchObject({ code: 'unsupported-feature', hint: /prompt as text/ });
    await expect(loadChatTemplate(createMemoryFiles({}))).rejects.toMatchObject({ code: 'unsupported-feature' });
    await expect(load({ chat_template: '{% if %}' })).rejects.toMatchObject({ code: 'file-malformed' });
    const strict = await load({ chat_template: "{{ raise_exception('roles must alternate') }}" });
    expect(() => strict.render(conversation)).toThrow(/roles must alternate/);
    expect(() => strict.render([])).toThrow(/at least one|got none/);
  });

  it.each([null, undefined, 7, [null], [{ role: 'user' }], [{ role: 'user', content: null }], [['user', 'Hello']]])(
    'refuses %j in place of messages',
    async (messages) => {
      const template = await load({ chat_template: chatMl });
      expectKvlrError(() => template.render(messages as never), 'invalid-argument', /role and content/);
    },
  );

  it.each([[[null]], [7], [{ toString: 1 }], [[{ name: 'default' }]]])('takes %j for no template', async (given) => {
    await expectKvlrError(() => load({ chat_template: given }), 'unsupported-feature', /chat template/);
  });

  it('refuses a config that is no JSON object', async () => {
    const files = createMemoryFiles({ 'tokenizer_config.json': '[', 'chat_template.jinja': 'x' });
    await expectKvlrError(() => loadChatTemplate(files), 'file-malformed', /tokenizer_config\.json/);
  });

  it.each([
    ['a date', "{{ strftime_now('%Y') }}", String(new Date().getFullYear())],
    ['marks of what was generated', '{% generation %}{{ messages[-1].content }}{% endgeneration %}', 'Hello'],
    ['JSON', '{{ messages[0] | tojson }}', '{"role": "system", "content": "Be brief."}'],
    [
      'counters and slices',
      '{%- set ns = namespace(n=0) -%}{%- for m in messages[::-1] -%}{%- set ns.n = ns.n + 1 -%}{{ ns.n }}{{ m.role }}{%- endfor -%}',
      '1user2system',
    ],
    ['methods of texts', "{{ (' a|b ').strip().split('|')[-1] }}", 'b'],
    ['content as text or parts', '{% if messages[0].content is string %}text{% endif %}', 'text'],
  ])('knows %s', async (_, source, expected) => {
    expect((await load({ chat_template: source })).render(conversation)).toBe(expected);
  });
});
