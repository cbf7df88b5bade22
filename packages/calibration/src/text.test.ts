import { createHash } from 'node:crypto';
import type { Tokenizer } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeDocuments, hashTexts, readTexts } from './text.ts';

describe('readTexts', () => {
  it('takes a plain file as one document named after the file', () => {
    const text = 'First line.\r\n\r\nSecond paragraph.\n';
    expect(readTexts([{ name: '/texts/my.novel.txt', text }])).toEqual([{ source: 'my.novel', text }]);
    expect(readTexts([{ name: 'C:\\texts\\README', text }])).toEqual([{ source: 'README', text }]);
  });

  it('takes each line of a jsonl file as a document', () => {
    const text = '\uFEFF{"source": "a", "text": "one"}\r\n\n{"text": "two"}\n{"text": "  "}\n';
    expect(readTexts([{ name: 'set.jsonl', text }])).toEqual([
      { source: 'a', text: 'one' },
      { source: 'set', text: 'two' },
    ]);
  });

  it('gives back any documents that were written as jsonl', () => {
    const document = fc.record({ source: fc.string({ minLength: 1 }), text: fc.string().map((text) => `x${text}`) });
    fc.assert(
      fc.property(fc.array(document, { minLength: 1 }), (documents) => {
        const text = documents.map((one) => JSON.stringify(one)).join('\n');
        expect(readTexts([{ name: 'any.jsonl', text }])).toEqual(documents);
      }),
    );
  });

  it.each([
    ['empty.txt', ' \n\t'],
    ['empty.jsonl', '\n\n'],
    ['blank.jsonl', '{"text": " "}'],
  ])('says which file has no text: %s', (name, text) => {
    const attempt = () =>
      readTexts([
        { name: 'good.txt', text: 'words' },
        { name, text },
      ]);
    expect(expectKvlrError(attempt, 'text-empty').where).toEqual({ file: name });
  });

  it('refuses a list of no files', () => {
    expectKvlrError(() => readTexts([]), 'text-empty');
  });

  it.each(['{"text": 3}', '["text"]', 'null', 'plain words', '{"text": "a", "source": 1}'])(
    'names file and line of what is no document: %s',
    (line) => {
      const attempt = () => readTexts([{ name: 'bad.jsonl', text: `{"text": "fine"}\n${line}` }]);
      const error = expectKvlrError(attempt, 'file-malformed', /^bad.jsonl: .*line 2/);
      expect(error.data).toEqual({ file: 'bad.jsonl', line: 2 });
    },
  );
});

/** One token a character; 0 begins and 1 ends a document. */
const characters: Tokenizer = {
  vocabSize: 70_000,
  prefixIds: [0],
  endOfSequenceIds: [1, 2],
  encode: (text) => [...text].map((character) => character.codePointAt(0)!),
  decode: (ids) => String.fromCodePoint(...ids),
};

describe('encodeDocuments', () => {
  it('puts each document between begin and end', () => {
    const documents = ['ab', 'c'].map((text) => ({ source: 's', text }));
    expect([...encodeDocuments(documents, characters)]).toEqual([0, 97, 98, 1, 0, 99, 1]);
  });

  it('adds nothing that the tokenizer has not', () => {
    const bare = { ...characters, prefixIds: [], endOfSequenceIds: [] };
    expect([...encodeDocuments([{ source: 's', text: 'ab' }], bare)]).toEqual([97, 98]);
  });
});

describe('hashTexts', () => {
  const documents = [
    { source: 'a', text: 'one\n' },
    { source: 'b', text: 'zwei — ü' },
  ];

  it('is the SHA-256 of the canonical lines', async () => {
    const expected = createHash('sha256').update('["a","one\\n"]\n["b","zwei — ü"]', 'utf8').digest('hex');
    expect(await hashTexts(documents)).toBe(expected);
  });

  it('tells order, sources and where one document ends', async () => {
    const variants = [
      documents,
      [...documents].reverse(),
      [{ source: 'a', text: 'one\nzwei — ü' }],
      documents.map(({ text }) => ({ source: 'a', text })),
    ];
    const hashes = await Promise.all(variants.map(hashTexts));
    expect(new Set(hashes).size).toBe(variants.length);
  });
});
