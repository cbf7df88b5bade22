import { createTinyModel } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { loadModel } from '../decoder/load-model.ts';

it.each([{}, { window: 20 }, { capacity: 2 }, { dtype: 'int8', batch: 2 }] as const)(
  'runs every kind of step once and leaves the weights alone: caches of %o',
  async (cache) => {
    const steps: string[] = [];
    const plain = await loadModel(createTinyModel(), { backend: 'wasm', weights: 'f32', cache });
    const held = memory().numTensors;
    const model = await loadModel(createTinyModel(), {
      backend: 'wasm',
      weights: 'f32',
      cache,
      warmUp: true,
      onProgress: ({ completed, total, unit }) => steps.push(`${completed}/${total} ${unit}`),
    });
    expect(memory().numTensors).toBe(2 * held);
    expect(steps.slice(0, 3)).toEqual(['1/3 layers', '2/3 layers', '3/3 layers']);
    expect(steps.at(-1)).toBe('3/3 pipelines');
    plain.dispose();
    model.dispose();
  },
);
