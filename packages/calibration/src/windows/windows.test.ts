import type { Tokenizer } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { consecutiveWindows } from './consecutive-windows.ts';
import { encodeDocuments } from './encode-documents.ts';
import { randomWindows } from './random-windows.ts';
import { splitWindows } from './split-windows.ts';
import { windowsBySource } from './windows-by-source.ts';

/** One token a character; 0 begins and 1 ends a document. */
const characters: Tokenizer = {
  vocabSize: 70_000,
  beginOfSequenceId: 0,
  endOfSequenceIds: [1, 2],
  encode: (text) => [...text].map((character) => character.codePointAt(0)!),
  decode: (ids) => String.fromCodePoint(...ids),
};

/** A stream in which every token tells its place. */
const places = (count: number) => Int32Array.from({ length: count }, (_, place) => place);

const isRun = (window: Int32Array) => window.every((id, i) => id === window[0]! + i);

describe('encodeDocuments', () => {
  it('puts each document between begin and end', () => {
    const documents = ['ab', 'c'].map((text) => ({ source: 's', text }));
    expect([...encodeDocuments(documents, characters)]).toEqual([0, 97, 98, 1, 0, 99, 1]);
  });

  it('adds nothing that the tokenizer has not', () => {
    const bare = { ...characters, beginOfSequenceId: undefined, endOfSequenceIds: [] };
    expect([...encodeDocuments([{ source: 's', text: 'ab' }], bare)]).toEqual([97, 98]);
  });
});

describe('randomWindows', () => {
  it('cuts runs of the stream, the same for the same seed', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 0, max: 100 }),
        fc.integer(),
        (length, extra, seed) => {
          const settings = { count: 5, length, seed };
          const windows = randomWindows(places(length + extra), settings);
          expect(windows.map((window) => window.length)).toEqual(Array(5).fill(length));
          expect(windows.every(isRun)).toBe(true);
          expect(randomWindows(places(length + extra), settings)).toEqual(windows);
        },
      ),
    );
  });

  it('reaches every place of the stream, the last included, about equally often', () => {
    const starts = randomWindows(places(9), { count: 4000, length: 5, seed: 1 }).map((window) => window[0]!);
    const counts = [0, 1, 2, 3, 4].map((place) => starts.filter((start) => start === place).length);
    for (const count of counts) expect(Math.abs(count - 800)).toBeLessThan(120);
  });

  it('takes 48 windows of 512 unless told otherwise', () => {
    const windows = randomWindows(places(2000));
    expect(windows).toHaveLength(48);
    expect(windows[0]).toHaveLength(512);
    expect(randomWindows(places(2000), { seed: 1 })).not.toEqual(windows);
  });

  it('says how many tokens are needed and there', () => {
    expect(() => randomWindows(places(100))).toThrow(
      expect.objectContaining({ code: 'text-too-short', data: { required: 512, available: 100 } }),
    );
  });
});

describe('consecutiveWindows', () => {
  it('cuts side by side and leaves the rest out', () => {
    const windows = consecutiveWindows(places(11), { length: 3 });
    expect(windows.map((window) => [...window])).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7, 8],
    ]);
    expect(consecutiveWindows(places(11), { length: 3, count: 2 })).toEqual(windows.slice(0, 2));
  });

  it('says how many tokens are needed and there', () => {
    expect(() => consecutiveWindows(places(2), { length: 3 })).toThrow(/at least 3 tokens in the text, got 2/);
  });
});

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

  it('names the source that is too short', () => {
    expect(() => windowsBySource(documents, characters, { length: 11 })).toThrow(/at least 11 tokens in a, got 10/);
  });
});

describe('splitWindows', () => {
  it('deals out windows that have no token in common, the same for the same seed', () => {
    fc.assert(
      fc.property(
        fc.record({
          trainingCount: fc.integer({ min: 0, max: 6 }),
          heldOutCount: fc.integer({ min: 0, max: 6 }),
          length: fc.integer({ min: 1, max: 8 }),
          seed: fc.integer(),
        }),
        fc.integer({ min: 0, max: 30 }),
        (settings, extra) => {
          const { trainingCount, heldOutCount, length } = settings;
          const stream = places(Math.max(length, (trainingCount + heldOutCount) * length) + extra);
          const { training, heldOut } = splitWindows(stream, settings);
          expect([training.length, heldOut.length]).toEqual([trainingCount, heldOutCount]);
          const tokens = [...training, ...heldOut].flatMap((window) => [...window]);
          expect(new Set(tokens).size).toBe((trainingCount + heldOutCount) * length);
          expect([...training, ...heldOut].every(isRun)).toBe(true);
          expect(splitWindows(stream, settings)).toEqual({ training, heldOut });
        },
      ),
    );
  });

  it('says how many tokens are needed and there', () => {
    expect(() => splitWindows(places(2047), { trainingCount: 3, heldOutCount: 1 })).toThrow(
      expect.objectContaining({ code: 'text-too-short', data: { required: 2048, available: 2047 } }),
    );
  });
});
