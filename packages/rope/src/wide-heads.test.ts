import { type DecoderShape, llamaShape, type RopeParameters } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { frequenciesGoByLength, ropeFrequencies } from './rope-frequencies.ts';
import { repeatFrequencies, widenHeads } from './wide-heads.ts';

const theta = 10000;
const kinds: RopeParameters[] = [
  { type: 'default', theta },
  { type: 'linear', theta, factor: 4 },
  { type: 'yarn', theta, factor: 8, originalMaxPositionEmbeddings: 64 },
  {
    type: 'llama3',
    theta,
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalMaxPositionEmbeddings: 64,
  },
  {
    type: 'longrope',
    theta,
    factor: 2,
    originalMaxPositionEmbeddings: 64,
    shortFactor: [1, 1.5, 2, 3],
    longFactor: [1, 2, 4, 8],
  },
];

/** Every frequency over and over, as the shape of a wide head asks for. */
const overAndOver = (frequencies: Float64Array, times: number) =>
  Array.from({ length: times }, () => [...frequencies]).flat();

describe('repeatFrequencies', () => {
  it.each(kinds.flatMap((rope) => [2, 3, 4].map((times) => ({ rope, times, type: rope.type }))))(
    'gives the frequencies of $type $times times, and its attention factor',
    ({ rope, times }) => {
      const repeated = repeatFrequencies(rope, 8, times, 128);
      expect(repeated.type).toBe('longrope');
      for (const sequenceLength of [10, 100, 1000]) {
        const source = ropeFrequencies(rope, 8, { sequenceLength });
        const wide = ropeFrequencies(repeated, 8 * times, { sequenceLength });
        const expected = overAndOver(source.frequencies, times);
        expect(wide.frequencies.length).toBe(expected.length);
        wide.frequencies.forEach((frequency, pair) => {
          expect(frequency / expected[pair]!).toBeCloseTo(1, 12);
        });
        expect(wide.attentionFactor).toBeCloseTo(source.attentionFactor, 14);
      }
      expect(frequenciesGoByLength(repeated)).toBe(rope.type === 'longrope');
    },
  );

  it('names them as engines read them: one list for all lengths, without a stretch', () => {
    expect(repeatFrequencies({ type: 'default', theta: 100 }, 4, 2, 512)).toEqual({
      ...{ type: 'longrope', theta: 100, factor: 1, attentionFactor: 1, originalMaxPositionEmbeddings: 512 },
      // 100^(2 j / 4) / 100^(2 p / 8) at p = 2 r + j.
      shortFactor: [1, 100 ** (1 / 4), 100 ** (-1 / 2), 100 ** (-1 / 4)].map((factor) => expect.closeTo(factor, 12)),
      longFactor: expect.any(Array),
    });
  });

  it('leaves heads of their own width alone, and refuses frequencies that change with the text', () => {
    expect(repeatFrequencies(kinds[1]!, 8, 1, 128)).toBe(kinds[1]);
    const dynamic: RopeParameters = { type: 'dynamic', theta, factor: 2, originalMaxPositionEmbeddings: 64 };
    expectKvlrError(() => repeatFrequencies(dynamic, 8, 2, 128), 'unsupported-feature', /dynamic/);
    expect(frequenciesGoByLength(dynamic)).toBe(true);
  });
});

describe('widenHeads', () => {
  const shape: DecoderShape = llamaShape({
    ...{ numLayers: 2, hiddenSize: 32, intermediateSize: 64, vocabSize: 50, maxPositionEmbeddings: 128 },
    ...{ numAttentionHeads: 4, numKeyValueHeads: 4, headDim: 8, rope: { type: 'default', theta } },
  });

  it('changes width, scale and positions, and nothing else', () => {
    const wide = widenHeads(shape, 2);
    const { headDim, attention, layers, ...rest } = wide;
    expect(headDim).toBe(16);
    expect(attention).toEqual({ ...shape.attention, scoreScale: 1 / 4 });
    expect(layers[1]!.positions).toMatchObject({ kind: 'rope', rotaryDim: 16, rope: { type: 'longrope' } });
    expect(layers.map(({ cache }) => cache)).toEqual(shape.layers.map(({ cache }) => cache));
    expect(rest).toEqual({ ...shape, headDim: undefined, attention: undefined, layers: undefined });
    expect(widenHeads(shape, 1)).toBe(shape);
  });

  it('keeps a scale of scores that a family has of its own', () => {
    const own = { ...shape, attention: { ...shape.attention, scoreScale: 0.25 } };
    expect(widenHeads(own, 4).attention.scoreScale).toBe(0.125);
  });

  it('refuses queries and keys that are normed or clipped', () => {
    const norm = { ...shape.blocks.norm, over: 'head' } as const;
    for (const changes of [{ queryKeyNorm: norm }, { clip: 8 }]) {
      const changed = { ...shape, attention: { ...shape.attention, ...changes } };
      expectKvlrError(() => widenHeads(changed, 2), 'unsupported-feature', /as they are projected/);
    }
  });

  it('refuses heads that rotate in part', () => {
    const [layer] = shape.layers;
    const partial = { ...shape, layers: [{ ...layer!, positions: { ...layer!.positions, rotaryDim: 4 } }] };
    expectKvlrError(() => widenHeads(partial as DecoderShape, 2), 'unsupported-feature', /4 of 8/);
  });
});
