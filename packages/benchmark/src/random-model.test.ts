import { decoderTensors } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { createRandomModel } from './random-model.ts';

const { shape } = createTinyModel({ tieWordEmbeddings: true });

it('has every tensor of its shape, the same for the same seed', async () => {
  const model = createRandomModel(shape, 3);
  const again = createRandomModel(shape, 3);
  const other = createRandomModel(shape, 4);
  for (const { role, layer, shape: dimensions } of decoderTensors(shape)) {
    const name = model.tensorName(role, layer);
    expect(model.tensors.info(name).shape).toEqual(dimensions);
    const values = await model.tensors.readFloat32(name);
    expect(values).toEqual(await again.tensors.readFloat32(name));
    if (role.endsWith('Norm')) expect(new Set(values)).toEqual(new Set([1]));
    else expect(values).not.toEqual(await other.tensors.readFloat32(name));
  }
  expect(model.tensorName('languageModelHead')).toBe(model.tensorName('embedding'));
});

it('refuses names that it does not have', async () => {
  const { tensors } = createRandomModel(shape);
  expect(tensors.has('lm_head.weight')).toBe(false);
  await expect(tensors.readFloat32('lm_head.weight')).rejects.toMatchObject({ code: 'tensor-missing' });
});
