import { MemoryStreamStore } from '@kvlr/core';
import { disposeTensors, selectBackend, uploadLayer } from '@kvlr/runtime';
import { createTinyModel, differenceByRange } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { type AdvanceSettings, advanceThroughLayer, BlockTargets, type PassedStream, tokenWeights } from './streams.ts';

describe('what an error counts', () => {
  const stream = Float32Array.of(1, 1, 1000, 1000, 0, 0, Number.NaN, 1);

  it('is the same for tokens of any norm, and nothing for tokens that are no numbers', () => {
    expect([...tokenWeights(stream, 2)]).toEqual([1, Math.fround(1e-6), 0, 0]);
  });

  it('is a share of what the block adds, and of the stream where it adds nothing', async () => {
    const target = stream.slice(0, 6);
    const unitBehind = async (before: Float32Array) => {
      const targets = new BlockTargets(2, new MemoryStreamStore());
      await targets.add(0, before, target);
      return targets.pairs(new MemoryStreamStore()).unit;
    };
    // A hundredth of each token is added.
    expect(await unitBehind(Float32Array.of(0.99, 0.99, 990, 990, 0, 0))).toBeCloseTo(4e-4, 9);
    expect(await unitBehind(target)).toBe(6);
    expect(await unitBehind(Float32Array.of(1 + 2 ** -22, 1, 1000, 1000, 0, 0))).toBe(6);
  });
});

describe.each(await testedBackends())('on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('takes windows through a layer, alone and together', async () => {
    await selectBackend({ backend });
    const held = memory().numTensors;
    const model = createTinyModel({ attentionBias: true });
    const { shape } = model;
    const windows = { store: new MemoryStreamStore(), count: 5 };
    for (let window = 0; window < windows.count; window++) {
      const stream = Float32Array.from({ length: 6 * shape.hiddenSize }, (_, n) => Math.sin(window + n * n));
      await windows.store.write(window, stream);
    }
    const weights = await uploadLayer(model, 0);
    const passed = async (settings: Pick<AdvanceSettings, 'atOnce' | 'between'>) => {
      const found: PassedStream[] = [];
      await advanceThroughLayer(windows, weights, { shape, layer: 0, ...settings }, async (each, place) => {
        found[place] = each;
      });
      return found;
    };
    const alone = await passed({ atOnce: 1, between: true });
    const together = await passed({ atOnce: 2, between: true });
    expect(together).toHaveLength(5);
    together.forEach(({ after, between }, window) => {
      expect(differenceByRange(after, alone[window]!.after)).toBeLessThan(1e-6);
      expect(differenceByRange(between!, alone[window]!.between!)).toBeLessThan(1e-6);
    });
    const last = (await passed({ atOnce: 3 }))[4]!;
    expect(last.between).toBeUndefined();
    expect(differenceByRange(last.after, alone[4]!.after)).toBeLessThan(1e-6);
    disposeTensors(weights);
    expect(memory().numTensors).toBe(held);
  });
});
