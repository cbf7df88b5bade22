import type { CalibrationStatistics, LayerStatistics, TensorBundle } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { momentFields, statisticsFromBundle, statisticsToBundle } from './statistics-bundle.ts';

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
    expect(metadata).toMatchObject({ format: 'kvlr-statistics', version: '1' });
    expect(JSON.parse(metadata.provenance!)).toEqual(statistics.provenance);
  });

  it.each<[RegExp, (bundle: TensorBundle) => void]>([
    [/format kvlr-statistics, version 1, got format undefined/, ({ metadata }) => delete metadata.format],
    [/got format kvlr-statistics, version 2/, ({ metadata }) => Object.assign(metadata, { version: '2' })],
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
