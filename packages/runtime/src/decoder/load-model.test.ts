import { createTinyModel } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { loadModel } from './load-model.ts';

describe('loadModel', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'cpu' });
  });

  it('names the tensor whose shape is wrong and leaves nothing on the device', async () => {
    const source = createTinyModel();
    const name = source.tensorName('downWeight', 1);
    source.dense.set(name, { shape: [24, 39], data: new Float32Array(24 * 39) });
    const held = memory().numTensors;
    await expect(loadModel(source, { backend: 'cpu' })).rejects.toMatchObject({
      code: 'tensor-shape',
      data: { tensor: name, expected: [24, 40], received: [24, 39] },
    });
    expect(memory().numTensors).toBe(held);
  });

  it('passes on that a tensor is missing', async () => {
    const source = createTinyModel();
    source.dense.delete(source.tensorName('finalNorm'));
    const held = memory().numTensors;
    await expect(loadModel(source, { backend: 'cpu' })).rejects.toMatchObject({ code: 'tensor-missing' });
    expect(memory().numTensors).toBe(held);
  });

  it('refuses a shape with too few layers', async () => {
    const source = createTinyModel();
    const shape = { ...source.shape, layers: source.shape.layers.slice(1) };
    await expect(loadModel({ ...source, shape }, { backend: 'cpu' })).rejects.toThrow(/expected 2 layers, got 1/);
  });

  it('stops when the signal has fired', async () => {
    const signal = AbortSignal.abort();
    await expect(loadModel(createTinyModel(), { backend: 'cpu', signal })).rejects.toMatchObject({ code: 'aborted' });
  });
});
