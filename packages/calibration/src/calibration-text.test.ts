import type { Tokenizer } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CalibrationText } from './calibration-text.ts';
import { hashTexts } from './text.ts';

/** One token a character, and every token tells its place. */
const places: Tokenizer = {
  vocabSize: 70_000,
  prefixIds: [],
  endOfSequenceIds: [],
  encode: (text) => Array.from(text, (_, place) => place),
  decode: () => '',
};

const textOf = (tokens: number) => new CalibrationText([{ source: 's', text: 'x'.repeat(tokens) }], places);

const isRun = (window: Int32Array) => window.every((id, i) => id === window[0]! + i);
const startsOf = (windows: readonly Int32Array[]) => windows.map((window) => window[0]);

describe('CalibrationText', () => {
  it('is tokenised when tokens are first asked for, once', async () => {
    let encoded = 0;
    const counting = {
      ...places,
      encode: (text: string) => {
        encoded++;
        return places.encode(text);
      },
    };
    const documents = [{ source: 's', text: 'abcdef' }];
    const text = new CalibrationText(documents, counting);
    expect(await text.hash()).toBe(await hashTexts(documents));
    expect(encoded).toBe(0);
    text.sample({ length: 3 });
    text.split({ trainingCount: 1, heldOutCount: 1, length: 3 });
    expect(text.tokenIds).toHaveLength(6);
    expect(encoded).toBe(1);
  });
});

describe('sample', () => {
  it('cuts runs of the stream, the same for the same seed', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 0, max: 100 }),
        fc.integer(),
        (length, extra, seed) => {
          const settings = { count: 5, length, seed };
          const windows = textOf(length + extra).sample(settings);
          expect(windows.map((window) => window.length)).toEqual(Array(5).fill(length));
          expect(windows.every(isRun)).toBe(true);
          expect(textOf(length + extra).sample(settings)).toEqual(windows);
        },
      ),
    );
  });

  it('reaches every place of the stream, the last included, about equally often', () => {
    const starts = startsOf(textOf(9).sample({ count: 4000, length: 5, seed: 1 }));
    const counts = [0, 1, 2, 3, 4].map((place) => starts.filter((start) => start === place).length);
    for (const count of counts) expect(Math.abs(count - 800)).toBeLessThan(120);
  });

  it('takes 48 windows of 512 unless told otherwise', () => {
    const windows = textOf(2000).sample();
    expect(windows).toHaveLength(48);
    expect(windows[0]).toHaveLength(512);
    expect(textOf(2000).sample({ seed: 1 })).not.toEqual(windows);
  });

  it('says which text is too short, how many tokens are needed and there', () => {
    const error = expectKvlrError(
      () => textOf(100).sample(),
      'text-too-short',
      'calibration text: expected at least 512 tokens in the text, got 100',
    );
    expect(error.data).toEqual({ required: 512, available: 100, purpose: 'calibration' });
  });
});

describe('split', () => {
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
          const text = textOf(Math.max(length, (trainingCount + heldOutCount) * length) + extra);
          const { training, heldOut } = text.split(settings);
          expect([training.length, heldOut.length]).toEqual([trainingCount, heldOutCount]);
          const tokens = [...training, ...heldOut].flatMap((window) => [...window]);
          expect(new Set(tokens).size).toBe((trainingCount + heldOutCount) * length);
          expect([...training, ...heldOut].every(isRun)).toBe(true);
          expect(text.split(settings)).toEqual({ training, heldOut });
        },
      ),
    );
  });

  it('says which text is too short, how many tokens are needed and there', () => {
    const split = () => textOf(2047).split({ trainingCount: 3, heldOutCount: 1 });
    const error = expectKvlrError(split, 'text-too-short', 'calibration text: ');
    expect(error.data).toEqual({ required: 2048, available: 2047, purpose: 'calibration' });
  });
});

describe('heldOut', () => {
  it('has no token in common with the sample, nor its windows with each other', () => {
    fc.assert(
      fc.property(fc.integer({ min: 56, max: 300 }), fc.integer(), fc.integer(), (tokens, seed, ownSeed) => {
        const sampled = { count: 3, length: 12, seed };
        const settings = { count: 4, length: 5, seed: ownSeed };
        const used = textOf(tokens)
          .sample(sampled)
          .flatMap((window) => [...window]);
        const held = textOf(tokens).heldOut(settings, sampled);
        const all = held.flatMap((window) => [...window]);
        expect(new Set(all).size).toBe(all.length);
        expect(all.filter((place) => used.includes(place))).toEqual([]);
        expect(held.every((window) => window.length === 5 && isRun(window))).toBe(true);
        expect(held.length).toBeLessThanOrEqual(4);
        expect(textOf(tokens).heldOut(settings, sampled)).toEqual(held);
      }),
    );
  });

  it('says what it needs when the sample takes everything', () => {
    const heldOut = () => textOf(12).heldOut({ count: 4, length: 5 }, { count: 3, length: 12 });
    const error = expectKvlrError(heldOut, 'text-too-short', /^calibration text: .*held-out window of 5 tokens/);
    expect(error.data).toEqual({ required: 5, available: 12, purpose: 'calibration' });
  });
});

it('cuts the same windows as ever', () => {
  const text = textOf(1000);
  expect(startsOf(text.sample({ count: 4, length: 50, seed: 3 }))).toEqual([684, 36, 433, 71]);
  const { training, heldOut } = text.split({ trainingCount: 3, heldOutCount: 2, length: 50, seed: 3 });
  expect(startsOf(training)).toEqual([500, 200, 800]);
  expect(startsOf(heldOut)).toEqual([700, 50]);
  expect(startsOf(text.heldOut({ count: 4, length: 20, seed: 5 }, { count: 4, length: 50, seed: 3 }))).toEqual([
    734, 814, 301, 663,
  ]);
});
