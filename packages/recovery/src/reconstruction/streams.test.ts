import { MemoryStreamStore } from '@kvlr/core';
import { disposeTensors, selectBackend, uploadLayer } from '@kvlr/runtime';
import { createTinyModel, differenceByRange } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { type AdvanceSettings, advanceThroughLayer, type PassedStream } from './streams.ts';

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
