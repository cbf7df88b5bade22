import { builtInCodecs, windowReader } from '@kvlr/cache';
import type { ModelSource, WindowReader } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError } from '@kvlr/testkit';
import { beforeAll, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';

const backend = 'wasm' as const;
const stock = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const ids = Int32Array.from({ length: 44 }, (_, i) => (7 * i + 3) % stock.shape.vocabSize);

beforeAll(() => selectBackend({ backend }));

async function using<Value>(source: ModelSource, work: (model: DecoderModel) => Promise<Value>): Promise<Value> {
  const model = await loadModel(source, { backend });
  try {
    return await work(model);
  } finally {
    model.dispose();
  }
}

const readerOf = (source: ModelSource, name: keyof typeof builtInCodecs, window = 0, first = 0) =>
  windowReader({ shape: source.shape, cache: { codec: builtInCodecs[name], window, first } });

it.each(Object.entries({ stock, latent: createLatentModel(2), rebuilt: createRebuiltModel(2) }))(
  'a cache that loses nothing gives the logits of the model: %s keys',
  (_, source) =>
    using(source, async (model) => {
      const read = await model.readThrough(readerOf(source, 'f32')).logits(ids);
      expect(differenceByRange(read, await model.logits(ids))).toBeLessThan(1e-5);
      const exact = await model.readThrough(readerOf(source, 'int4', ids.length)).logits(ids);
      expect(differenceByRange(exact, await model.logits(ids))).toBeLessThan(1e-5);
    }),
);

it.each(['int8', 'int4', 'f16'] as const)('gives the logits of generating behind a cache of %s', async (dtype) => {
  const generating = await loadModel(stock, { backend, weights: 'f32', cache: { dtype } });
  const expected = await generating.logits(ids);
  generating.dispose();
  const [read, plain] = await using(stock, async (model) => [
    await model.readThrough(readerOf(stock, dtype)).logits(ids),
    await model.logits(ids),
  ]);
  expect(differenceByRange(read!, expected)).toBeLessThan(1e-4);
  expect(differenceByRange(plain!, expected)).toBeGreaterThan(dtype === 'f16' ? 1e-6 : 1e-4);
});

it.each([
  ['channel-2', 0, 0],
  ['channel-2', 5, 2],
  ['int4', 7, 3],
] as const)(
  'every query reads what is coded by then: %s, %i exact tokens at the end and %i at the start',
  (name, window, first) => {
    // Of one layer, so that a query depends on nothing but the cache that it reads.
    const source = createTinyModel({ numLayers: 1, numAttentionHeads: 4, numKeyValueHeads: 2 });
    const reader = readerOf(source, name, window, first);
    const frozenAt = (tokens: number): WindowReader => ({ ...reader, coded: (side) => reader.coded(side, tokens) });
    return using(source, async (model) => {
      const { vocabSize } = model;
      const logits = await model.readThrough(reader).logits(ids);
      for (const query of [0, 11, 33, 36, 43]) {
        const alone = await model.readThrough(frozenAt(query + 1)).logits(ids.slice(0, query + 1));
        const last = alone.subarray(query * vocabSize);
        expect(differenceByRange(logits.slice(query * vocabSize, (query + 1) * vocabSize), last)).toBeLessThan(1e-5);
      }
    });
  },
);

it('packed weights are refused in words', async () => {
  const model = await loadModel(stock, { backend, weights: 'int8' });
  expectKvlrError(() => model.readThrough(readerOf(stock, 'int8')), 'unsupported-feature', 'float32 weights');
  model.dispose();
});
