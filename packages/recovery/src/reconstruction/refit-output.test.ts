import { overlayModel } from '@kvlr/checkpoint';
import { createNormalRandom, type DenseTensor } from '@kvlr/core';
import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { readLayers } from '../testing/read-layers.ts';
import { reconstructBlocks } from './reconstruct-blocks.ts';

const teacher = createTinyModel({ seed: 9, attentionBias: true });
const windows = Array.from({ length: 8 }, (_, index) => randomTokenIds(24, teacher.shape.vocabSize, index));
const request = { teacher, windows: windows.slice(0, 6), heldOutWindows: windows.slice(6), backend: 'wasm' as const };

it('finds an output projection that was spoilt, without a step of Adam', async () => {
  const normal = createNormalRandom(2);
  const spoilt = new Map<string, DenseTensor>();
  for (let layer = 0; layer < teacher.shape.numLayers; layer++) {
    const name = teacher.tensorName('outputWeight', layer);
    const { shape, data } = teacher.dense.get(name)!;
    spoilt.set(name, { shape, data: Float32Array.from(data, (value) => value + 0.1 * normal()) });
  }
  const student = overlayModel(teacher, { shape: teacher.shape, tensors: spoilt, id: 'spoilt' });
  const { layers, history } = await reconstructBlocks({ ...request, student, settings: { steps: 0 } });
  expect(history[0]!.initialError).toBeGreaterThan(1e-2);
  for (const { initialError, finalError } of history) expect(finalError).toBeLessThan(1e-4 * initialError);
  for (const [name, data] of await readLayers(layers)) {
    if (!spoilt.has(name)) expect(data).toEqual(await teacher.tensors.readFloat32(name));
  }
});

it('lessens what merging cost, on held-out text too', async () => {
  const student = await meanPooledStudent(teacher, 2);
  const { history } = await reconstructBlocks({ ...request, student, settings: { steps: 0 } });
  for (const { points, initialError, finalError } of history) {
    expect(points.map(({ step }) => step)).toEqual([0, 0]);
    expect(finalError).toBeLessThan(initialError);
  }
});
