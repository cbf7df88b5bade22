import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readTexts } from './read-texts.ts';

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
    expect(attempt).toThrow(expect.objectContaining({ code: 'text-empty', data: { file: name } }));
  });

  it('refuses a list of no files', () => {
    expect(() => readTexts([])).toThrow(expect.objectContaining({ code: 'text-empty' }));
  });

  it.each(['{"text": 3}', '["text"]', 'null', 'plain words', '{"text": "a", "source": 1}'])(
    'names file and line of what is no document: %s',
    (line) => {
      const attempt = () => readTexts([{ name: 'bad.jsonl', text: `{"text": "fine"}\n${line}` }]);
      expect(attempt).toThrow(
        expect.objectContaining({ code: 'file-malformed', data: { file: 'bad.jsonl', line: 2 } }),
      );
    },
  );
});
