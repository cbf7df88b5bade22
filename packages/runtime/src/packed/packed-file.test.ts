import { KvlrError, type TensorSink, type TensorSource } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';

const ids = randomTokenIds(10, 50);
const formats: WeightFormat[] = ['f32', 'f16', 'int8', 'int4'];

/** Keeps what is written, and reads it again. */
function store() {
  const kept = new Map<string, { shape: number[]; bytes: Uint8Array }>();
  let ended = '';
  const sink: TensorSink = {
    write: async (name, _, shape, bytes) => void kept.set(name, { shape, bytes }),
    finish: async () => {
      ended = 'finished';
    },
    abort: async () => {
      ended = 'aborted';
    },
  };
  const find = (name: string) => {
    const tensor = kept.get(name);
    if (!tensor) throw new KvlrError('tensor-missing', { message: `store: no tensor ${name}` });
    return tensor;
  };
  const source = {
    has: (name: string) => kept.has(name),
    info: (name: string) => ({ name, dtype: 'I32', shape: find(name).shape, byteLength: find(name).bytes.length }),
    // Bytes of a file begin anywhere.
    readBytes: async (name: string) => Uint8Array.from([0, ...find(name).bytes]).subarray(1),
  } as Partial<TensorSource> as TensorSource;
  return { kept, sink, source, ended: () => ended };
}

const models = {
  stock: createTinyModel({ attentionBias: true, mlpBias: true }),
  tied: createTinyModel({ tieWordEmbeddings: true, numKeyValueHeads: 2 }),
  latent: createLatentModel(2),
  rebuilt: createRebuiltModel(2),
};
/** A model of which nothing but the shape may be read. */
const unread = <Model extends object>(model: Model): Model => ({ ...model, tensors: undefined });

describe('packed weights', () => {
  it.each(formats.flatMap((format) => Object.entries(models).map(([name, model]) => ({ format, name, model }))))(
    'in $format of $name keys come back bit by bit, without a look at the checkpoint',
    async ({ format, model }) => {
      const first = await loadModel(model, { backend: 'wasm', weights: format });
      const held = memory().numTensors;
      const { sink, source, ended } = store();
      await first.savePacked(sink);
      expect(ended()).toBe('finished');
      const second = await loadModel(unread(model), { backend: 'wasm', weights: format, packed: source });
      expect([...(await second.logits(ids))]).toEqual([...(await first.logits(ids))]);
      second.dispose();
      expect(memory().numTensors).toBe(held);
      first.dispose();
    },
  );

  it('refuses those of another model or format, and broken ones, and leaves nothing', async () => {
    const model = await loadModel(models.stock, { backend: 'wasm', weights: 'int8' });
    const { kept, sink, source } = store();
    await model.savePacked(sink);
    const full = { ...store().sink, write: () => Promise.reject(new KvlrError('disk-full', { message: 'no room' })) };
    await expect(model.savePacked(full)).rejects.toMatchObject({ code: 'disk-full' });
    const held = memory().numTensors;
    const load = (other: typeof models.stock, weights: WeightFormat) =>
      loadModel(unread(other), { backend: 'wasm', weights, packed: source });
    await expect(load(createTinyModel({ seed: 5 }), 'int8')).rejects.toMatchObject({ code: 'weights-mismatch' });
    await expect(load(models.stock, 'int4')).rejects.toMatchObject({ code: 'weights-mismatch' });
    kept.get('layers.1.gate.words')!.shape = [1, 2];
    await expect(load(models.stock, 'int8')).rejects.toMatchObject({ code: 'tensor-shape' });
    kept.delete('layers.1.gate.words');
    await expect(load(models.stock, 'int8')).rejects.toMatchObject({ code: 'tensor-missing' });
    expect(memory().numTensors).toBe(held);
    model.dispose();
  });
});
