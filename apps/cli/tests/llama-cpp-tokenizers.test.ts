import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMemoryFiles, openCheckpoint } from '@kvlr/checkpoint';
import { openSource, writeGguf } from '@kvlr/checkpoint/node';
import { expectKvlrError, tinyCheckpointFiles } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLlamaCppOracle } from './support/llama-cpp-oracle.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-tokenizers-'));
});
afterAll(() => rm(directory, { recursive: true }));

const texts = [
  "It's the captain's ship; they'll sail at 10:30 on 1 March 1851, WON'T they? 1234567",
  'In the beginning\n\nGod created   the heaven\tand the earth. \n \n  x',
  ' naïve café, “quoted” — 日本語 🐳 \u00a0end\r\n',
  'camelCaseWords and SHOUTING, x=12.5*(y+1)//2; a_b',
  '<s> is written here, and </s> too.',
];

/** GPT-2's characters for bytes. */
function byteCharacters(): string[] {
  const plain = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || byte > 173;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(plain(byte) ? byte : next++));
}

/**
 * A vocabulary of bytes and merges that were learned across the bounds of words, digits and signs, so that every bound that a rule
 * sets shows in the ids.
 */
function learnMerges(count: number): { vocab: Record<string, number>; merges: string[] } {
  const characters = byteCharacters();
  let words = texts.map((text) => [...new TextEncoder().encode(text)].map((byte) => characters[byte]!));
  const tokens = ['<s>', '</s>', ...characters];
  const merges: string[] = [];
  while (merges.length < count) {
    const pairs = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
      }
    }
    const [best] = [...pairs].reduce((most, pair) => (pair[1] > most[1] ? pair : most));
    merges.push(best);
    const [left, right] = best.split(' ') as [string, string];
    tokens.push(left + right);
    words = words.map((word) => {
      const joined: string[] = [];
      for (let i = 0; i < word.length; i++) {
        const isPair = word[i] === left && word[i + 1] === right;
        joined.push(isPair ? left + right : word[i]!);
        if (isPair) i++;
      }
      return joined;
    });
  }
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

const learned = learnMerges(200);
const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
const split = (regex: string) => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false });
const words = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const rest = '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });
const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';

/** Pre-tokenizers as the tokenizer.json of well-known models have them, and whether they ignore merges. */
const preTokenizers: Record<string, [preTokenizer: object, ignoreMerges: boolean]> = {
  'GPT-2': [{ ...bytes, use_regex: true }, false],
  SmolLM: [sequence({ type: 'Digits', individual_digits: true }, { ...bytes, use_regex: true }), false],
  'Llama 3': [sequence(split(`${words}|\\p{N}{1,3}${rest}`), bytes), true],
  DBRX: [sequence(split(`${words}|\\p{N}{1,3}${rest}`), bytes), false],
  'Qwen 2': [sequence(split(`${words}|\\p{N}${rest}`), bytes), false],
  Tekken: [
    sequence(
      split(
        `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
      ),
      bytes,
    ),
    true,
  ],
  BLOOM: [sequence(split(' ?[^(\\s|[.,!?…。，、।۔،])]+'), bytes), false],
};

const falcon = sequence(
  { type: 'Punctuation', behavior: 'Contiguous' },
  { ...bytes, use_regex: true },
  { type: 'Digits', individual_digits: false },
  split('[0-9][0-9][0-9]'),
);
const mixesDigits = (merge: string) => /\p{N}/u.test(merge) && /[^\p{N} ]/u.test(merge);

async function exportTokenizer(
  changes: (tokenizer: Record<string, unknown>) => Record<string, unknown>,
  vocabSize: number,
) {
  const files = await tinyCheckpointFiles({ vocabSize });
  const tokenizer = changes(JSON.parse(files['tokenizer.json'] as string));
  const source = await openCheckpoint(createMemoryFiles({ ...files, 'tokenizer.json': JSON.stringify(tokenizer) }));
  const path = join(directory, 'model.gguf');
  await writeGguf(path, source, source, { overwrite: true });
  const read = await openSource(path);
  const oracle = await openLlamaCppOracle(path);
  return { source: await source.tokenizer(), read: await read.tokenizer(), oracle, close: () => read.close() };
}

describe('llama.cpp gives the same token ids', () => {
  it.each(Object.entries(preTokenizers))('as the tokenizer of %s', async (_, [preTokenizer, ignoreMerges]) => {
    const { source, read, oracle, close } = await exportTokenizer(
      (tokenizer) => ({
        ...tokenizer,
        pre_tokenizer: preTokenizer,
        model: { type: 'BPE', ignore_merges: ignoreMerges, ...learned },
      }),
      Object.keys(learned.vocab).length,
    );
    for (const text of texts) {
      const ids = source.encode(text);
      expect([text, oracle.tokenize(text)]).toEqual([text, ids]);
      expect(read.encode(text)).toEqual(ids);
      expect(source.decode(ids)).toBe(text);
    }
    await oracle.dispose();
    await close();
  });

  it('as the tokenizer of Falcon, whose tokens do not mix digits with others', async () => {
    const exportWith = (merges: string[]) =>
      exportTokenizer(
        (tokenizer) => ({ ...tokenizer, pre_tokenizer: falcon, model: { type: 'BPE', ...learned, merges } }),
        Object.keys(learned.vocab).length,
      );
    await expectKvlrError(() => exportWith(learned.merges), 'unsupported-feature', 'tokenizer');
    const { source, read, oracle, close } = await exportWith(learned.merges.filter((merge) => !mixesDigits(merge)));
    for (const text of texts) {
      const ids = source.encode(text);
      expect([text, oracle.tokenize(text)]).toEqual([text, ids]);
      expect(read.encode(text)).toEqual(ids);
    }
    await oracle.dispose();
    await close();
  });

  it("as SentencePiece's BPE, by the scores that merges stand for", async () => {
    // Characters that are no token come as bytes.
    const characters = [
      ...new Set(
        texts
          .join('')
          .replaceAll(' ', '▁')
          .replaceAll(/[é🐳日*=]/gu, ''),
      ),
    ];
    const pairs = ['▁ t', 'h e', '▁t he', 'a n', '▁ w', 'e r', 'i n', '▁ ▁', '▁w er', '1 2', 't h', 'o n', '. ▁'];
    const bytesOf = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    const joined = pairs.map((pair) => pair.replace(' ', ''));
    const tokens = [...new Set(['<s>', '</s>', ...bytesOf, ...characters, ...joined])];
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    const merges = pairs.filter((pair) => pair.split(' ').every((part) => part in vocab));
    const { source, read, oracle, close } = await exportTokenizer(
      (tokenizer) => ({
        ...tokenizer,
        normalizer: {
          type: 'Sequence',
          normalizers: [
            { type: 'Prepend', prepend: '▁' },
            { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
          ],
        },
        pre_tokenizer: null,
        decoder: {
          type: 'Sequence',
          decoders: [
            { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
            { type: 'ByteFallback' },
            { type: 'Fuse' },
            { type: 'Strip', content: ' ', start: 1, stop: 0 },
          ],
        },
        model: { type: 'BPE', byte_fallback: true, fuse_unk: true, vocab, merges },
      }),
      tokens.length,
    );
    for (const text of texts) {
      const ids = source.encode(text);
      expect([text, oracle.tokenize(text, 'whole')]).toEqual([text, ids]);
      expect(read.encode(text)).toEqual(ids);
    }
    await oracle.dispose();
    await close();
  });
});
