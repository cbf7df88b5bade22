import { createMemoryFiles, loadTokenizer } from '@kvlr/checkpoint';
import type { Tokenizer } from '@kvlr/core';
import { loadChatTemplate } from '@kvlr/runtime';
import { asciiTokenizerFiles, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import type { MaskedWindow } from '../distillation/pieces.ts';
import { encodeInstruction, instructionWindows, parseInstructions } from './instructions.ts';

const chat =
  '{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';
const template = await loadChatTemplate(createMemoryFiles({ 'chat_template.jinja': chat }));
const tokenizer: Tokenizer = await loadTokenizer(createMemoryFiles(asciiTokenizerFiles()), 120);

/** The text that a model learns to write. */
function learnt({ tokenIds, counted }: MaskedWindow): string {
  const ids = [...tokenIds].filter((_, place) => place > 0 && counted[place - 1] === 1);
  return tokenizer.decode(ids.filter((id) => !tokenizer.endOfSequenceIds.includes(id)));
}

const whole = ({ tokenIds }: MaskedWindow) => tokenizer.decode([...tokenIds], { skipSpecialTokens: true });

describe('parseInstructions', () => {
  it('reads prompts with responses, and conversations', () => {
    const lines = [
      '{"prompt": "2+2=", "response": "4", "source": "x"}',
      '',
      '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "name": "y"}]}',
    ];
    expect(parseInstructions(lines.join('\n'), 'a.jsonl')).toEqual([
      { prompt: '2+2=', response: '4' },
      {
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'Ho' },
        ],
      },
    ]);
  });

  it.each(['{', '{"prompt": "x"}', '{"messages": []}', '{"messages": [{"role": "user", "content": "x"}]}', '7'])(
    'refuses %s',
    (line) => {
      expectKvlrError(
        () => parseInstructions(`{"prompt":"","response":""}\n${line}`, 'a.jsonl'),
        'file-malformed',
        'line 2',
      );
    },
  );

  it('refuses an empty file', () => {
    expectKvlrError(() => parseInstructions(' \n', 'a.jsonl'), 'text-empty');
  });
});

describe('encodeInstruction', () => {
  it('counts the response and its end, as they are without a template', () => {
    const window = encodeInstruction({ prompt: 'What? ', response: 'That.' }, { tokenizer });
    expect(whole(window)).toBe('What? That.');
    expect(learnt(window)).toBe('That.');
    expect(tokenizer.endOfSequenceIds).toContain(window.tokenIds.at(-1));
    expect(window.counted.at(-2)).toBe(1);
    expect(window.counted.at(-1)).toBe(0);
  });

  it("counts the assistant's messages, where a template writes them down", () => {
    const messages = ['user', 'assistant', 'user', 'assistant'].map((role, index) => ({ role, content: `m${index}` }));
    const window = encodeInstruction({ messages }, { tokenizer, template });
    expect(whole(window)).toBe('<user>m0;<assistant>m1;<user>m2;<assistant>m3;');
    expect(learnt(window)).toBe('m1;m3;');
    const single = encodeInstruction({ prompt: 'a', response: 'b' }, { tokenizer, template });
    expect(whole(single)).toBe('<user>a;<assistant>b;');
  });

  it('refuses conversations without a template', () => {
    const messages = [{ role: 'assistant', content: 'x' }];
    expectKvlrError(() => encodeInstruction({ messages }, { tokenizer }), 'invalid-argument', 'chat template');
  });

  it('refuses a template that does not go on', () => {
    const changing = { render: (messages: readonly unknown[]) => `${messages.length} messages` };
    const work = () => encodeInstruction({ prompt: 'a', response: 'b' }, { tokenizer, template: changing });
    expectKvlrError(work, 'invalid-argument', 'goes on');
  });
});

describe('instructionWindows', () => {
  const instructions = Array.from({ length: 6 }, (_, index) => ({
    prompt: 'p'.repeat(index + 1),
    response: `r${index}`,
  }));

  it('fills windows up to one length, apart from those that are held out', () => {
    const { training, heldOut } = instructionWindows(instructions, { tokenizer, length: 50, heldOutCount: 2, seed: 1 });
    expect([training.length, heldOut.length]).toEqual([4, 2]);
    const all = [...training, ...heldOut];
    expect(new Set(all.map(({ tokenIds }) => tokenIds.length)).size).toBe(1);
    expect(all.map(learnt).sort()).toEqual(['r0', 'r1', 'r2', 'r3', 'r4', 'r5']);
  });

  it('cuts off what is too long, and leaves out whose answer is', () => {
    const long = [
      ...instructions,
      { prompt: 'p', response: 'r'.repeat(99) },
      { prompt: 'p'.repeat(99), response: 'r' },
    ];
    const { training, heldOut } = instructionWindows(long, { tokenizer, length: 12, heldOutCount: 1, seed: 1 });
    const texts = [...training, ...heldOut].map(learnt);
    expect(texts).toHaveLength(7);
    expect(Math.max(...texts.map(({ length }) => length))).toBeLessThan(12);
  });

  it('needs two at least', () => {
    const settings = { tokenizer, length: 50, heldOutCount: 2, seed: 1 };
    expectKvlrError(() => instructionWindows(instructions.slice(0, 1), settings), 'text-too-short');
  });
});
