import { fileURLToPath } from 'node:url';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from './files/files.ts';
import { openCheckpointDirectory } from './node.ts';
import { editJson, type FileContents, tinyCheckpointFiles } from './testing/tiny-checkpoint-files.ts';
import { loadTokenizer } from './tokenizer.ts';

const referenceModel = fileURLToPath(new URL('../../reference-model/model', import.meta.url));
const load = (files: FileContents, vocabSize = 100) => loadTokenizer(createMemoryFiles(files), vocabSize);

describe('loadTokenizer', () => {
  it('takes special tokens written in a text as plain text, and adds none', async () => {
    const checkpoint = await openCheckpointDirectory(referenceModel);
    const tokenizer = await checkpoint.tokenizer();
    expect(tokenizer.prefixIds).toEqual([0]);
    expect(tokenizer.endOfSequenceIds).toEqual([1]);
    const text = 'The whale, “old”, swam\n\n <s> on.';
    const ids = tokenizer.encode(text);
    expect(ids.every((id) => id > 1)).toBe(true);
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.decode([0, ...ids, 1], { skipSpecialTokens: true })).toBe(text);
    expect(tokenizer.decode([0])).toBe('<s>');
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([])).toBe('');
    await checkpoint.close();
  });

  it('merges, and knows all tokens that end a text', async () => {
    const tokenizer = await load(await tinyCheckpointFiles());
    expect(tokenizer.encode('the')).toEqual([97, 'e'.charCodeAt(0) - 31]);
    expect(tokenizer.endOfSequenceIds).toEqual([1, 97]);
  });

  it('refuses a tokenizer with ids beyond the vocabulary of the model', async () => {
    const complete = await tinyCheckpointFiles();
    await expectKvlrError(() => load(complete, 97), 'tokenizer-mismatch', /vocab_size = 97.*97/);
    const files = await tinyCheckpointFiles();
    editJson(files, 'tokenizer.json', (content) => {
      (content.added_tokens as object[]).push({ id: 5000, content: '<pad>', special: true });
    });
    await expectKvlrError(() => load(files), 'tokenizer-mismatch', /5000.*<pad>/);
  });

  it('refuses a missing or damaged tokenizer.json', async () => {
    const files = await tinyCheckpointFiles();
    await expectKvlrError(() => load({ ...files, 'tokenizer.json': '{' }), 'file-malformed', 'tokenizer.json');
    await expectKvlrError(() => load({ ...files, 'tokenizer.json': '{"model": {}}' }), 'file-malformed', 'model.vocab');
    await expectKvlrError(
      () => load({ ...files, 'tokenizer.json': '{"model": {"vocab": {"a": -1}}}' }),
      'file-malformed',
    );
    await expectKvlrError(
      () => load({ ...files, 'tokenizer.json': '{"model": {"vocab": {"a": 1}}}' }),
      'file-malformed',
      'definition',
    );
    delete files['tokenizer.json'];
    await expectKvlrError(() => load(files), 'file-missing', 'tokenizer.json');
  });

  it('takes tokenizer.json as different writers leave it', async () => {
    const files = await tinyCheckpointFiles();
    const text = 'the other é thing, then '.repeat(40);
    const ids = (await load(files)).encode(text);
    const changed: ((content: Record<string, unknown>) => void)[] = [
      (content) => {
        content.truncation = { direction: 'Right', max_length: 16, strategy: 'LongestFirst', stride: 0 };
        content.padding = { strategy: { Fixed: 512 }, direction: 'Right', pad_id: 0, pad_type_id: 0, pad_token: '<s>' };
      },
      (content) => {
        const model = content.model as { merges: string[] };
        content.model = { ...model, merges: model.merges.map((merge) => merge.split(' ')) };
      },
    ];
    for (const change of changed) {
      const other = { ...files };
      editJson(other, 'tokenizer.json', change);
      expect((await load(other)).encode(text)).toEqual(ids);
    }
    // The bytes of the letter beyond ASCII are no tokens, and there is none for the unknown.
    expect((await load(files)).decode(ids)).toBe(text.replaceAll('é', ''));
  });

  it('says how to make a tokenizer.json from the SentencePiece model that lies in its place', async () => {
    const files = await tinyCheckpointFiles();
    delete files['tokenizer.json'];
    const error = await expectKvlrError(
      () => load({ ...files, 'tokenizer.model': new Uint8Array(8) }),
      'file-missing',
      /tokenizer\.json.*tokenizer\.model alone/,
    );
    expect(error.hint).toContain('save_pretrained');
  });
});

describe('what stands before a text', () => {
  const template = (...names: string[]) => ({
    type: 'TemplateProcessing',
    single: [...names.map((id) => ({ SpecialToken: { id, type_id: 0 } })), { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: Object.fromEntries(names.map((id) => [id, { id, ids: [id === '<s>' ? 0 : 1], tokens: [id] }])),
  });
  const bytes = { type: 'ByteLevel', trim_offsets: true };

  it.each([
    ['nothing says that a token is added, though one is named', null, { bos_token: '<s>' }, []],
    ['the configuration says that none is', null, { bos_token: '<s>', add_bos_token: false }, []],
    ['none is named, but for ids in the config', null, { bos_token: null, add_bos_token: false }, []],
    ['the configuration says that one is', null, { bos_token: '<s>', add_bos_token: true }, [0]],
    ['the post-processor adds one', template('<s>'), { bos_token: '<s>' }, [0]],
    [
      'the post-processor adds one behind another step',
      { type: 'Sequence', processors: [bytes, template('<s>')] },
      {},
      [0],
    ],
    [
      'the post-processor adds none, whatever the configuration says',
      template(),
      { bos_token: '<s>', add_bos_token: true },
      [],
    ],
    ['the post-processor leaves it to the configuration', bytes, { bos_token: '<s>', add_bos_token: true }, [0]],
    ['the post-processor adds others', template('</s>', '<s>'), {}, [1, 0]],
    ['the post-processor is one of BERT', { type: 'BertProcessing', cls: ['<s>', 0], sep: ['</s>', 1] }, {}, [0]],
  ])('where %s', async (_, postProcessor, config, expected) => {
    const files = await tinyCheckpointFiles();
    editJson(files, 'tokenizer.json', (content) => Object.assign(content, { post_processor: postProcessor }));
    const ids = { bos_token_id: 0, eos_token_id: 1 };
    const changed = {
      ...files,
      'tokenizer_config.json': JSON.stringify(config),
      'generation_config.json': JSON.stringify(ids),
    };
    editJson(changed, 'config.json', (content) => Object.assign(content, ids));
    expect((await load(changed)).prefixIds).toEqual(expected);
  });

  it('refuses a template without a text', async () => {
    const files = await tinyCheckpointFiles();
    editJson(files, 'tokenizer.json', (content) => {
      content.post_processor = { ...template(), single: [null] };
    });
    await expectKvlrError(() => load(files), 'file-malformed', /post_processor\.single/);
  });
});

it.each([
  ['decoder', { type: 'Sequence', decoders: [null] }],
  ['decoder', { type: 'Sequence', decoders: [{ type: 'Other' }] }],
  ['normalizer', { type: 'Sequence', normalizers: [{ type: 'Other' }] }],
  ['post_processor', { type: 'Sequence', processors: [null] }],
])('refuses a part that is none when it is loaded: %s %j', async (part, content) => {
  const files = await tinyCheckpointFiles();
  editJson(files, 'tokenizer.json', (tokenizer) => Object.assign(tokenizer, { [part]: content }));
  await expectKvlrError(() => load(files), 'file-malformed', 'a tokenizer definition');
});

it.each([
  [['tokenizer.model'], 'found tokenizer.model alone'],
  [['vocab.json', 'merges.txt'], 'found vocab.json and merges.txt'],
  [['qwen.tiktoken'], 'found qwen.tiktoken alone'],
])('says how tokenizer.json is made from %j', async (names, found) => {
  const { 'tokenizer.json': _, ...files } = await tinyCheckpointFiles();
  for (const name of names) files[name] = 'an older form';
  await expectKvlrError(() => load(files), 'file-missing', found);
  await expect(load(files)).rejects.toMatchObject({ hint: expect.stringContaining('AutoTokenizer') });
});
