import type { Tokenizer } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it, vi } from 'vitest';
import { consecutiveWindows, windowsBySource } from './windows.ts';

/** One token a character; 0 begins and 1 ends a document. */
const characters: Tokenizer = {
  vocabSize: 70_000,
  prefixIds: [0],
  endOfSequenceIds: [1, 2],
  encode: (text) => [...text].map((character) => character.codePointAt(0)!),
  decode: (ids) => String.fromCodePoint(...ids),
};

describe('windowsBySource', () => {
  const documents = [
    { source: 'b', text: 'uvwxyz' },
    { source: 'a', text: 'klm' },
    { source: 'b', text: '12' },
    { source: 'a', text: 'nop' },
  ];

  it('cuts each source on its own, sources in order of appearance', () => {
    const windows = windowsBySource(documents, characters, { length: 5, windowsPerSource: 2 });
    const text = windows.map(({ source, tokenIds }) => [source, String.fromCodePoint(...tokenIds)]);
    expect(text).toEqual([
      ['b', '\0uvwx'],
      ['b', 'yz\x01\x001'],
      ['a', '\0klm\x01'],
      ['a', '\0nop\x01'],
    ]);
  });

  it('encodes no documents behind the last window', () => {
    const encode = vi.fn(characters.encode);
    windowsBySource(documents, { ...characters, encode }, { length: 4, windowsPerSource: 1 });
    expect(encode.mock.calls.flat()).toEqual(['uvwxyz', 'klm']);
  });

  it('cuts no window where none is asked for', () => {
    expect(windowsBySource(documents, characters, { length: 4, windowsPerSource: 0 })).toEqual([]);
  });

  it('names the source that is too short', () => {
    const error = expectKvlrError(
      () => windowsBySource(documents, characters, { length: 11 }),
      'text-too-short',
      'evaluation text: expected at least 11 tokens in a, got 10',
    );
    expect(error.data).toEqual({ required: 11, available: 10, purpose: 'evaluation' });
  });
});

describe('consecutiveWindows', () => {
  it('cuts side by side and leaves the rest out', () => {
    const stream = Int32Array.from({ length: 11 }, (_, place) => place);
    const windows = consecutiveWindows(stream, 3);
    expect(windows.map((window) => [...window])).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7, 8],
    ]);
    expect(consecutiveWindows(stream, 3, 2)).toEqual(windows.slice(0, 2));
    expect(consecutiveWindows(stream, 12)).toEqual([]);
  });
});
