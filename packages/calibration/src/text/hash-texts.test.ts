import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { hashTexts } from './hash-texts.ts';

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
