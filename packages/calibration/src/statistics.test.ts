import type { CalibrationStatistics, LayerStatistics, TensorBundle } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectStatistics } from './collect-statistics.ts';
import { mergeStatistics, momentFields, statisticsFromBundle, statisticsToBundle } from './statistics.ts';
import { randomActivations } from './testing/random-activations.ts';

const { shape } = createTinyModel({ numLayers: 2, numAttentionHeads: 2, headDim: 4, hiddenSize: 6 });
const provenance = { modelId: 'tiny', textHash: 'hash', seed: 1 };

function collect(lengths: number[], seed = 1, modelId = 'tiny') {
  const windows = lengths.map((length) => randomTokenIds(length, shape.vocabSize, seed * 1000 + length));
  return collectStatistics({
    activations: randomActivations(shape),
    windows,
    provenance: { ...provenance, modelId, seed },
  });
}

describe('mergeStatistics', () => {
  it('of parts is the run over all windows, however they are divided', async () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(lengths, fc.nat(), async (all, cut) => {
        const middle = 1 + (cut % (all.length - 1));
        const parts = await Promise.all([collect(all.slice(0, middle)), collect(all.slice(middle))]);
        const merged = mergeStatistics(parts);
        const whole = await collect(all);
        expect(merged.provenance.tokenCount).toBe(whole.provenance.tokenCount);
        for (const [index, layer] of whole.layers.entries()) {
          expect(merged.layers[index]!.tokenCount).toBe(layer.tokenCount);
          for (const field of momentFields) {
            expect(differenceByRange(merged.layers[index]![field], layer[field]), field).toBeLessThan(1e-13);
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  it('lists the runs it was made of, also over several merges', async () => {
    const [first, second, third] = await Promise.all([collect([3], 1), collect([4], 2), collect([5], 3)]);
    const merged = mergeStatistics([mergeStatistics([first, second]), third]);
    expect(merged.provenance).toMatchObject({ modelId: 'tiny', seed: 1, tokenCount: 12 });
    expect(merged.provenance.runs?.map((run) => [run.seed, run.tokenCount])).toEqual([
      [1, 3],
      [2, 4],
      [3, 5],
    ]);
    expect(mergeStatistics([first])).toBe(first);
  });

  it('refuses different models and an empty list', async () => {
    const [first, second] = await Promise.all([collect([3]), collect([3], 1, 'other')]);
    expectKvlrError(() => mergeStatistics([first, second]), 'run-mismatch');
    const fewer = { ...first, layers: first.layers.slice(1) };
    expectKvlrError(() => mergeStatistics([first, fewer]), 'run-mismatch');
    expectKvlrError(() => mergeStatistics([]), 'invalid-argument');
  });
});

/** 2 query heads, 1 KV head, headDim 4, hiddenSize 3; every number differs from every other. */
function exampleLayer(layer: number): LayerStatistics {
  const lengths: Record<(typeof momentFields)[number], number> = {
    inputSecondMoment: 9,
    inputMean: 3,
    keySecondMoment: 16,
    keyMean: 4,
    rotatedKeySecondMoment: 16,
    rotatedKeyMean: 4,
    valueSecondMoment: 16,
    valueMean: 4,
    receivedValueSecondMoment: 16,
    querySecondMoment: 32,
    rotatedQuerySecondMoment: 32,
    attendedSecondMoment: 64,
    attendedMean: 8,
  };
  const arrays = momentFields.map((field, index) => {
    const values = Float64Array.from({ length: lengths[field] }, (_, i) => layer + index / 100 + i / 1e4 + Math.PI);
    return [field, values] as const;
  });
  return { layer, tokenCount: 100 + layer, ...Object.fromEntries(arrays) } as LayerStatistics;
}

const statistics: CalibrationStatistics = {
  provenance: { modelId: 'model', textHash: 'abc', tokenCount: 100, windowLength: 50, seed: 7 },
  layers: [exampleLayer(0), exampleLayer(3)],
};

function changed(change: (bundle: TensorBundle) => void): TensorBundle {
  const bundle = statisticsToBundle(statistics);
  change(bundle);
  return bundle;
}

describe('statistics as a bundle', () => {
  it('come back equal, bit for bit', () => {
    expect(statisticsFromBundle(statisticsToBundle(statistics))).toEqual(statistics);
  });

  it('carry names, shapes and provenance that another reader understands', () => {
    const { metadata, tensors } = statisticsToBundle(statistics);
    expect(tensors.size).toBe(2 * momentFields.length);
    expect(tensors.get('layers.3.inputSecondMoment')?.shape).toEqual([3, 3]);
    expect(tensors.get('layers.0.attendedMean')?.shape).toEqual([8]);
    expect(tensors.get('layers.0.rotatedQuerySecondMoment')?.shape).toEqual([2, 4, 4]);
    expect(metadata).toMatchObject({ format: 'kvlr-statistics', version: '2' });
    expect(JSON.parse(metadata.provenance!)).toEqual(statistics.provenance);
  });

  it.each<[RegExp, (bundle: TensorBundle) => void]>([
    [/format kvlr-statistics, version 2, got format undefined/, ({ metadata }) => delete metadata.format],
    [/got format kvlr-statistics, version 1/, ({ metadata }) => Object.assign(metadata, { version: '1' })],
    [/metadata entry 'provenance', got {cut/, ({ metadata }) => Object.assign(metadata, { provenance: '{cut' })],
    [/a tensor layers.3.keyMean, got none/, ({ tensors }) => tensors.delete('layers.3.keyMean')],
    [
      /F64 numbers in layers.0.keyMean, got 4 in Float32Array/,
      ({ tensors }) => tensors.set('layers.0.keyMean', { shape: [4], data: new Float32Array(4) }),
    ],
    [
      /finite numbers in layers.0.keyMean, got NaN/,
      ({ tensors }) => tensors.set('layers.0.keyMean', { shape: [1], data: Float64Array.of(Number.NaN) }),
    ],
  ])('name what is wrong in a foreign or damaged file: %s', (message, change) => {
    expectKvlrError(() => statisticsFromBundle(changed(change)), 'file-malformed', message);
  });
});
