import { cacheLayout } from '@kvlr/core';
import { createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { randomCompressedLayer } from '../testing/compressed-layer.ts';
import { checkModel } from './checkpoint-tensors.ts';
import { applyCompression } from './variant.ts';

describe('applyCompression', () => {
  const base = createTinyModel();

  it('changes head count, layouts and attention, and nothing else', async () => {
    const layers = [0, 1].map((layer) => randomCompressedLayer(base.shape, { layer, groups: 2 }));
    const variant = applyCompression(base, layers);
    checkModel(variant, 'variant');
    expect(variant.shape.numKeyValueHeads).toBe(2);
    expect(variant.shape.layers[1]!.cache).toEqual(cacheLayout(layers[1]!));
    const key = await variant.tensors.readFloat32(variant.tensorName('keyWeight', 1));
    expect(key).toEqual(Float32Array.from(layers[1]!.weights.key));
    const up = variant.tensorName('upWeight', 1);
    expect(await variant.tensors.readBytes(up)).toEqual(await base.tensors.readBytes(up));
    expect(base.shape.numKeyValueHeads).toBe(4);
  });

  it('keeps the source head count where layers differ, and adds the encoders of latent keys', async () => {
    const latent = randomCompressedLayer(base.shape, { layer: 1, groups: 2, latentRank: 12 });
    const variant = applyCompression(base, [latent]);
    checkModel(variant, 'variant');
    expect(variant.shape.numKeyValueHeads).toBe(4);
    expect(variant.tensorName('latentQueryEncoder', 1)).toBe('model.layers.1.self_attn.q_latent.weight');
    expect(variant.tensors.info('model.layers.1.self_attn.k_latent.weight').shape).toEqual([12, 32]);
    expect(variant.tensors.info('model.layers.1.self_attn.q_latent.weight').shape).toEqual([4, 12, 8]);
    expect(variant.tensors.has(variant.tensorName('latentKeyEncoder', 0))).toBe(false);
  });

  it('adds the decoder of rebuilt keys, whose projection gives latents', () => {
    const rebuilt = randomCompressedLayer(base.shape, { layer: 1, groups: 2, rebuiltRank: 5 });
    const variant = applyCompression(base, [rebuilt]);
    checkModel(variant, 'variant');
    expect(variant.shape.numKeyValueHeads).toBe(4);
    expect(variant.tensors.info(variant.tensorName('keyWeight', 1)).shape).toEqual([10, 24]);
    expect(variant.tensors.info('model.layers.1.self_attn.k_rebuild.weight').shape).toEqual([2, 16, 5]);
  });

  it('gives every layer all four biases of zeros once one layer brings an output bias', async () => {
    const variant = applyCompression(base, [
      randomCompressedLayer(base.shape, { layer: 0, groups: 2, outputBias: true }),
    ]);
    checkModel(variant, 'variant');
    expect(variant.shape.attention).toMatchObject({ inputBias: true, outputBias: true });
    expect(await variant.tensors.readFloat32(variant.tensorName('keyBias', 0))).toEqual(new Float32Array(16));
    expect(await variant.tensors.readFloat32(variant.tensorName('outputBias', 1))).toEqual(new Float32Array(24));
  });

  it('widens the heads of the whole model, whose frequencies then repeat', () => {
    const layers = [0, 1].map((layer) => randomCompressedLayer(base.shape, { layer, groups: 1, headWidth: 2 }));
    const { shape, tensors, tensorName } = applyCompression(base, layers);
    expect(shape).toMatchObject({ headDim: 16, numKeyValueHeads: 1, attention: { scoreScale: 1 / 4 } });
    expect(shape.layers[1]).toMatchObject({
      cache: { keySlots: 1, keySlotWidth: 16, valueSlots: 1, valueSlotWidth: 16, keys: 'stock' },
      positions: { kind: 'rope', rotaryDim: 16, rope: { type: 'longrope', factor: 1, attentionFactor: 1 } },
    });
    expect(tensors.info(tensorName('queryWeight', 0)).shape).toEqual([64, 24]);
    expect(tensors.info(tensorName('outputWeight', 0)).shape).toEqual([24, 64]);
    expectKvlrError(() => applyCompression(base, layers.slice(1)), 'invalid-argument', 'got 8, 16');
  });

  it('names equal variants alike and different ones differently', () => {
    const id = (groups: number) => applyCompression(base, [randomCompressedLayer(base.shape, { layer: 0, groups })]).id;
    expect(id(2)).toBe(id(2));
    expect(id(2)).not.toBe(id(1));
  });

  it('refuses weights of the wrong size, and shows a non-finite one when it is read', async () => {
    const layer = randomCompressedLayer(base.shape, { layer: 0, groups: 2 });
    const short = { ...layer, weights: { ...layer.weights, value: new Float64Array(3) } };
    expectKvlrError(() => applyCompression(base, [short]), 'tensor-shape', /layers\.0\.self_attn\.v_proj.*384.*3/);
    layer.weights.key[5] = Number.NaN;
    const variant = applyCompression(base, [layer]);
    const name = variant.tensorName('keyWeight', 0);
    await expectKvlrError(() => variant.tensors.readFloat32(name), 'non-finite', new RegExp(`${name}.*element 5`));
  });
});
