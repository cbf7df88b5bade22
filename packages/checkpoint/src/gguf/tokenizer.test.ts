import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import golden from '../testing/sentencepiece-bpe.json' with { type: 'json' };
import { editJson, type FileContents, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { loadTokenizer } from '../tokenizer.ts';
import type { GgufMetadataValue } from './header.ts';
import { preTokenizerRules } from './pre-tokenizers.ts';
import { ggufTokenizerMetadata } from './tokenizer.ts';
import { ggufTokenizerFiles } from './tokenizer-files.ts';

/** Metadata as they are read, from those that are written. */
async function written(files: FileContents, vocabSize: number): Promise<Record<string, GgufMetadataValue>> {
  const metadata = await ggufTokenizerMetadata(createMemoryFiles(files), vocabSize);
  return Object.fromEntries([...metadata].map(([key, { value }]) => [key, value]));
}

function filesFrom(metadata: Record<string, GgufMetadataValue>): FileContents {
  const { contents } = ggufTokenizerFiles(new Map(Object.entries(metadata)), 'model.gguf');
  return Object.fromEntries(Object.entries(contents).map(([name, make]) => [name, make()]));
}

const load = (files: FileContents, vocabSize: number) => loadTokenizer(createMemoryFiles(files), vocabSize);
const parse = (files: FileContents, name: string) => JSON.parse(files[name] as string);

/** Of scripts/oracles/sentencepiece-bpe.py. */
const sentencePiece = {
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': golden.tokens,
  'tokenizer.ggml.scores': golden.scores,
  'tokenizer.ggml.token_type': golden.types,
};

describe("SentencePiece's BPE", () => {
  it.each(golden.texts)('gives the ids of SentencePiece for $text', async ({ text, ids }) => {
    const tokenizer = await load(filesFrom(sentencePiece), golden.tokens.length);
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  it('takes as much longer for a text as the text is longer', async () => {
    const tokenizer = await load(filesFrom(sentencePiece), golden.tokens.length);
    const sentence = ' The cache holds keys and values.';
    const timeOf = (count: number) => {
      const start = performance.now();
      const ids = tokenizer.encode(sentence.repeat(count));
      return { ids, milliseconds: performance.now() - start };
    };
    timeOf(100);
    const [short, long] = [timeOf(500), timeOf(8000)];
    expect(long.ids.length).toBeGreaterThan(15.9 * short.ids.length);
    // 16 times the text; were it all compared with all, 256 times the time.
    expect(long.milliseconds).toBeLessThan(100 * Math.max(short.milliseconds, 1));
  });

  it('puts <s> before a text unless told otherwise', async () => {
    const prefixOf = async (more: Record<string, GgufMetadataValue>) =>
      (await load(filesFrom({ ...sentencePiece, ...more }), golden.tokens.length)).prefixIds;
    expect(await prefixOf({})).toEqual([1]);
    expect(await prefixOf({ 'tokenizer.ggml.add_bos_token': false })).toEqual([]);
    expect(await prefixOf({ 'tokenizer.ggml.bos_token_id': 2 })).toEqual([2]);
  });

  it('is written with scores that order tokens as they were, and read back the same', async () => {
    const files = filesFrom(sentencePiece);
    const back = await written(files, golden.tokens.length);
    expect(back).toMatchObject({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': golden.tokens,
      'tokenizer.ggml.token_type': golden.types,
      'tokenizer.ggml.add_space_prefix': true,
      'tokenizer.ggml.add_bos_token': true,
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.unknown_token_id': 0,
    });
    const again = filesFrom(back);
    expect(parse(again, 'tokenizer.json').model).toEqual(parse(files, 'tokenizer.json').model);
  });

  it.each([
    [
      'a space is put before the text by Metaspace',
      {
        normalizer: null,
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
      },
      true,
    ],
    [
      'none is, as in Gemma',
      {
        normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
      },
      false,
    ],
  ])('is known where %s', async (_, fields, addsSpace) => {
    const files = filesFrom(sentencePiece);
    editJson(files, 'tokenizer.json', (content) => Object.assign(content, fields));
    const metadata = await written(files, golden.tokens.length);
    expect(metadata['tokenizer.ggml.add_space_prefix']).toBe(addsSpace);
    const [ours, theirs] = [await load(files, 1000), await load(filesFrom(metadata), 1000)];
    for (const { text } of golden.texts.filter((entry) => !entry.text.startsWith(' '))) {
      expect(theirs.encode(text)).toEqual(ours.encode(text));
    }
  });

  it('is refused where scores cannot say what merges say', async () => {
    const files = filesFrom(sentencePiece);
    editJson(files, 'tokenizer.json', ({ model }) => (model as { merges: string[] }).merges.pop());
    await expectKvlrError(() => written(files, golden.tokens.length), 'unsupported-feature', /a merge for every two/);
  });
});

describe('byte-level BPE', () => {
  it.each(preTokenizerRules.map((rule) => [rule.names[0]!, rule] as const))(
    'is read from the name of its rule, and written under it: %s',
    async (name, rule) => {
      const plain = await written(await tinyCheckpointFiles(), 100);
      const files = filesFrom({ ...plain, 'tokenizer.ggml.pre': name });
      expect(parse(files, 'tokenizer.json').model.ignore_merges).toBe(rule.ignoreMerges ?? false);
      const back = await written(files, 100);
      // Llama 3's pattern with digits one by one is Qwen 2's and Stable LM 2's, which differ before it.
      expect(back['tokenizer.ggml.pre']).toBe(name === 'stablelm2' ? 'qwen2' : name);
      const tokenizer = await load(files, 100);
      const text = "It's 12345 of the  things:\n\n  (a) x.";
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.replaceAll('\n', ''));
    },
  );

  it.each([
    [{}, false],
    [{ 'tokenizer.ggml.pre': 'llama-bpe' }, true],
    [{ 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.add_bos_token': false }, false],
    [{ 'tokenizer.ggml.pre': 'gpt-2', 'tokenizer.ggml.add_bos_token': true }, true],
  ])('with %j puts a token before a text: %s', async (more, expected) => {
    const { 'tokenizer.ggml.add_bos_token': _, ...plain } = await written(await tinyCheckpointFiles(), 100);
    expect((await load(filesFrom({ ...plain, ...more }), 100)).prefixIds).toEqual(expected ? [0] : []);
  });

  it('keeps special ids, every end of text, and padding out of the vocabulary', async () => {
    const metadata = await written(await tinyCheckpointFiles(), 100);
    const files = filesFrom({ ...metadata, 'tokenizer.ggml.padding_token_id': 1 });
    expect(parse(files, 'generation_config.json')).toEqual({ bos_token_id: 0, eos_token_id: [1, 97], pad_token_id: 1 });
    expect(parse(files, 'tokenizer_config.json')).toMatchObject({ pad_token: '</s>', bos_token: '<s>' });
    expect(Object.keys(parse(files, 'tokenizer.json').model.vocab)).not.toContain('[PAD99]');
    expect(await written(files, 100)).toMatchObject({ 'tokenizer.ggml.padding_token_id': 1, ...metadata });
  });

  it('carries chat templates, one or several, wherever they lie', async () => {
    const files = await tinyCheckpointFiles();
    const plain = { ...files, 'chat_template.jinja': 'A', 'additional_chat_templates/tool_use.jinja': 'B' };
    const metadata = await written(plain, 100);
    expect(metadata).toMatchObject({ 'tokenizer.chat_template': 'A', 'tokenizer.chat_template.tool_use': 'B' });
    const list = [
      { name: 'default', template: 'A' },
      { name: 'tool_use', template: 'B' },
    ];
    expect(parse(filesFrom(metadata), 'tokenizer_config.json').chat_template).toEqual(list);
    editJson(files, 'tokenizer_config.json', (config) => Object.assign(config, { chat_template: list }));
    expect(await written(files, 100)).toEqual(metadata);
    editJson(files, 'tokenizer_config.json', (config) => Object.assign(config, { chat_template: 'A' }));
    const one = await written(files, 100);
    expect(one['tokenizer.chat_template']).toBe('A');
    expect(parse(filesFrom(one), 'tokenizer_config.json').chat_template).toBe('A');
  });

  it('is refused under an unknown rule, and so are other kinds, by name', async () => {
    const metadata = await written(await tinyCheckpointFiles(), 100);
    expectKvlrError(() => filesFrom({ ...metadata, 'tokenizer.ggml.pre': 'mine' }), 'unsupported-feature', /"mine"/);
    expectKvlrError(() => filesFrom({ ...metadata, 'tokenizer.ggml.model': 't5' }), 'unsupported-feature', /"t5"/);
    const { 'tokenizer.ggml.merges': _, ...without } = metadata;
    expectKvlrError(() => filesFrom(without), 'file-malformed', /merges/);
  });
});
