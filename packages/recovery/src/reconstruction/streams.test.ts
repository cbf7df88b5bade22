import { disposeTensors, selectBackend, uploadLayer } from '@kvlr/runtime';
import { createTinyModel, differenceByRange } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { advanceThroughLayer, pairStreams, tokenWeights } from './streams.ts';

describe('what an error counts', () => {
  const stream = Float32Array.of(1, 1, 1000, 1000, 0, 0, Number.NaN, 1);

  it('is the same for tokens of any norm, and nothing for tokens that are no numbers', () => {
    expect([...tokenWeights(stream, 2)]).toEqual([1, Math.fround(1e-6), 0, 0]);
  });

  it('is a share of what the block adds, and of the stream where it adds nothing', () => {
    const target = stream.slice(0, 6);
    const unitBehind = (before: Float32Array) =>
      pairStreams({ before: [before], targets: [target], compressed: [before] }, 0, 1, 2).unit;
    // A hundredth of each token is added.
    expect(unitBehind(Float32Array.of(0.99, 0.99, 990, 990, 0, 0))).toBeCloseTo(4e-4, 9);
    expect(unitBehind(target)).toBe(6);
    expect(unitBehind(Float32Array.of(1 + 2 ** -22, 1, 1000, 1000, 0, 0))).toBe(6);
  });
});

describe.each(await testedBackends())('on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('takes windows through a layer, alone and together', async () => {
    await selectBackend({ backend });
    const held = memory().numTensors;
    const model = createTinyModel({ attentionBias: true });
    const { shape } = model;
    const streams = Array.from({ length: 5 }, (_, window) =>
      Float32Array.from({ length: 6 * shape.hiddenSize }, (_, n) => Math.sin(window + n * n)),
    );
    const weights = await uploadLayer(model, 0);
    const [alone, together, after] = [
      await advanceThroughLayer(streams, weights, { shape, layer: 0, atOnce: 1 }, 'both'),
      await advanceThroughLayer(streams, weights, { shape, layer: 0, atOnce: 2 }, 'both'),
      await advanceThroughLayer(streams, weights, { shape, layer: 0, atOnce: 3 }, 'after'),
    ];
    for (const part of ['between', 'after'] as const) {
      expect(together[part]).toHaveLength(5);
      together[part].forEach((stream, window) => {
        expect(differenceByRange(stream, alone[part][window]!)).toBeLessThan(1e-6);
      });
    }
    expect(after.between).toEqual([]);
    expect(differenceByRange(after.after[4]!, alone.after[4]!)).toBeLessThan(1e-6);
    disposeTensors(weights);
    expect(memory().numTensors).toBe(held);
  });
});
