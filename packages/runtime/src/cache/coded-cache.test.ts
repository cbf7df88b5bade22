import { builtInCodecs, builtInPolicies, windowReader } from '@kvlr/cache';
import { type CodedCache, codedCacheBytes, hostCacheBytes } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError } from '@kvlr/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import type { CacheSettings } from './cache-settings.ts';
import { requireCodedFits } from './cached-attention.ts';
import type { KeyValueCache } from './key-value-cache.ts';

const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const ids = Array.from({ length: 75 }, (_, i) => (7 * i + 3) % source.shape.vocabSize);
const codedOf = (name: keyof typeof builtInCodecs, window = 0, first = 0): CodedCache => ({
  ...{ codec: builtInCodecs[name], window, first },
});

const under = (policy: keyof typeof builtInPolicies, codec: keyof typeof builtInCodecs, keep = 0.5): CodedCache => ({
  ...{ codec: builtInCodecs[codec], window: 5, first: 2, policy: { policy: builtInPolicies[policy], keep } },
});

async function using<Value>(
  backend: 'cpu' | 'wasm',
  cache: CacheSettings,
  work: (model: DecoderModel) => Promise<Value>,
): Promise<Value> {
  const model = await loadModel(source, { backend, cache });
  try {
    return await work(model);
  } finally {
    model.dispose();
  }
}

/** Logits after the last of the ids: a prompt in one piece, then tokens one by one. */
async function logitsOf(model: DecoderModel, cache: KeyValueCache, prompt = 40): Promise<Float32Array> {
  let logits = await model.extend(cache, ids.slice(0, prompt));
  for (const id of ids.slice(prompt)) logits = await model.extend(cache, [id]);
  return logits;
}

describe.each(['cpu', 'wasm'] as const)('a coded cache on %s', (backend) => {
  beforeAll(() => selectBackend({ backend }));

  it.each(['f16', 'int8', 'int4', 'fp8'] as const)('gives the tokens of the kernels that have %s', async (name) => {
    const ofKernels = await using(backend, { dtype: name }, async (model) =>
      logitsOf(model, await model.createCache()),
    );
    const ofHost = await using(backend, { coded: codedOf(name) }, async (model) =>
      logitsOf(model, await model.createCache()),
    );
    expect(differenceByRange(ofHost, ofKernels)).toBeLessThan(2e-3);
  });

  it.each([
    ['turboquant-3', 0, 0],
    ['channel-2', 7, 2],
    ['int4', 9, 3],
  ] as const)('reads what windows read: %s, %i last and %i first tokens exact', async (name, window, first) => {
    const cache = codedOf(name, window, first);
    // Of one layer, so that a query depends on nothing but the cache that it reads.
    const shallow = createTinyModel({ numLayers: 1, numAttentionHeads: 4, numKeyValueHeads: 2 });
    const model = await loadModel(shallow, { backend, cache: { coded: cache } });
    const held = await model.createCache();
    const received = await logitsOf(model, held, 1);
    const reader = windowReader({ shape: shallow.shape, cache });
    const expected = await model.readThrough(reader).logits(Int32Array.from(ids));
    expect(differenceByRange(received, expected.slice(-shallow.shape.vocabSize))).toBeLessThan(2e-3);
    expect(held.byteLength).toBe(codedCacheBytes(shallow.shape, cache, ids.length));
    expect(held.usedBytes).toBe(held.byteLength);
    expect(held.bytesOfLength(ids.length)).toBe(held.byteLength);
    model.dispose();
  });

  // kvzip reads texts again, which windows do not.
  const ofWindows = (Object.keys(builtInPolicies) as (keyof typeof builtInPolicies)[]).filter(
    (name) => name !== 'kvzip',
  );
  it.each(ofWindows)(
    'under %s reads what windows read, prompts and tokens one by one, and takes the bytes that are counted',
    async (name) => {
      const cache = under(name, 'int8');
      await using(backend, { coded: cache }, async (model) => {
        const reader = windowReader({ shape: source.shape, cache });
        const expected = await model.readThrough(reader).logits(Int32Array.from(ids));
        const held = await model.createCache();
        const received = await logitsOf(model, held);
        expect(differenceByRange(received, expected.slice(-source.shape.vocabSize))).toBeLessThan(1e-3);
        expect(held.byteLength).toBe(codedCacheBytes(source.shape, cache, ids.length));
        expect(held.hostByteLength).toBe(hostCacheBytes(source.shape, cache, ids.length));
        expect(held.bytesOfLength(ids.length)).toBe(held.byteLength);
        const copy = held.fork();
        expect(await model.extend(copy, [5])).toEqual(await model.extend(held, [5]));
        const both = await model.createCache({ batch: 2 });
        const logits = await model.extend(both, [ids, ids.slice(0, 33)]);
        expect(differenceByRange(logits.slice(0, source.shape.vocabSize), received)).toBeLessThan(1e-3);
        held.truncate(0);
        expect(held.byteLength).toBe(0);
      });
    },
  );

  it('under kvzip drops tokens when a text has been read, in all layers, and none while it goes on', () => {
    const cache = under('kvzip', 'int8', 0.25);
    return using(backend, { coded: cache }, async (model) => {
      const exact = await model.createCache({ coded: { ...cache, policy: undefined } });
      const held = await model.createCache({ batch: 2 });
      const text = ids.slice(0, 50);
      const logits = await model.extend(held, [text, ids.slice(0, 43)]);
      // It decides behind the whole text: what is chosen after it has seen everything.
      expect(differenceByRange(logits.slice(0, source.shape.vocabSize), await model.extend(exact, text))).toBeLessThan(
        0.05,
      );
      const bytesOf = (tokens: number) => codedCacheBytes(source.shape, cache, tokens);
      expect(held.byteLength).toBe(bytesOf(50) + bytesOf(43));
      const before = held.byteLength;
      await model.extend(held, [[1], [2]]);
      const { keySlots, keySlotWidth, valueSlotWidth } = source.shape.layers[0]!.cache;
      const token = source.shape.numLayers * keySlots * (2 * (keySlotWidth + valueSlotWidth) + 8);
      expect(held.byteLength - before).toBe(2 * token);
      const tokens: number[] = [];
      for await (const { tokenId } of model.generate(text, { maxNewTokens: 6 })) tokens.push(tokenId);
      expect(tokens).toHaveLength(6);
      const long = await model.createCache();
      const most = source.shape.maxPositionEmbeddings;
      const full = () =>
        model.extend(
          long,
          Array.from({ length: most }, (_, i) => i % 40),
        );
      await expectKvlrError(full, 'unsupported-feature', `shorter than the ${most} positions`);
    });
  });

  it('holds sequences side by side, forks, and forgets', () =>
    using(backend, { coded: codedOf('channel-2') }, async (model) => {
      const alone = await model.createCache();
      const expected = await model.extend(alone, ids.slice(0, 50));
      const both = await model.createCache({ batch: 2 });
      const logits = await model.extend(both, [ids.slice(0, 50), ids.slice(0, 33)]);
      expect(differenceByRange(logits.slice(0, source.shape.vocabSize), expected)).toBeLessThan(1e-5);
      const copy = alone.fork();
      const next = await model.extend(alone, [5]);
      expect(await model.extend(copy, [5])).toEqual(next);
      expect(copy.byteLength).toBe(alone.byteLength);
      expectKvlrError(() => copy.truncate(20), 'invalid-argument', 'none within packed blocks');
      copy.truncate(0);
      expect(copy.byteLength).toBe(0);
      expect(differenceByRange(await model.extend(copy, ids.slice(0, 50)), expected)).toBeLessThan(1e-5);
      await expectKvlrError(() => model.saveCache(alone), 'unsupported-feature', 'a cache of a dtype to save');
    }));
});

it('what a coded cache cannot hold is refused before anything is loaded', async () => {
  const refused: [CodedCache, string, RegExp][] = [
    [codedOf('int8'), 'webgpu', /wasm or cpu.*, got webgpu/],
    [under('snapkv', 'channel-2'), 'wasm', /tokens that are stored one by one/],
    [codedOf('klt-2'), 'wasm', /statistics of calibration text.*, got none/],
  ];
  for (const [cache, backend, message] of refused) {
    expectKvlrError(() => requireCodedFits(source.shape, cache, { backend }), 'unsupported-feature', message);
  }
  const latent = createLatentModel(2);
  const load = () => loadModel(latent, { backend: 'wasm', cache: { coded: codedOf('int8') } });
  await expectKvlrError(load, 'unsupported-feature', /KV heads as projections give them/);
  const mixed = () => loadModel(source, { backend: 'wasm', cache: { dtype: 'int4', coded: codedOf('int8') } });
  await expectKvlrError(mixed, 'invalid-argument', 'expected a codec alone');
});
