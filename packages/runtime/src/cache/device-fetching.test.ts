import { builtInCodecs, builtInPolicies } from '@kvlr/cache';
import { type CodedCache, codedCacheBytes } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import type { KeyValueCache } from './key-value-cache.ts';
import type { PolicyStore } from './policy-store.ts';

const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const ids = Array.from({ length: 118 }, (_, i) => (7 * i + 3) % source.shape.vocabSize);
const cache: CodedCache = {
  ...{ codec: builtInCodecs.f16, window: 5, first: 2, policy: { policy: builtInPolicies.shadowkv, keep: 0.4 } },
};

/** Logits after the last of the ids: a prompt in one piece, then tokens one by one. */
async function logitsOf(model: DecoderModel, held: KeyValueCache): Promise<Float32Array> {
  let logits = await model.extend(held, ids.slice(0, 112));
  for (const id of ids.slice(112)) logits = await model.extend(held, [id]);
  return logits;
}

async function generated(model: DecoderModel): Promise<number[]> {
  const text: number[] = [];
  for await (const { tokenId } of model.generate(ids.slice(0, 100), { maxNewTokens: 12 })) text.push(tokenId);
  return text;
}

const webgpu = (await testedBackends()).find(({ backend }) => backend === 'webgpu')!;

describe('values in host memory on WebGPU', () => {
  it.skipIf(webgpu.skip)(
    'are fetched as the host would choose',
    async () => {
      const onHost = await loadModel(source, { backend: 'wasm', weights: 'f32', cache: { coded: cache } });
      const expected = await logitsOf(onHost, await onHost.createCache());
      const text = await generated(onHost);
      // What the policy leaves out makes a difference: else nothing is shown here.
      const whole = await onHost.createCache({ coded: { ...cache, policy: undefined } });
      expect(differenceByRange(await logitsOf(onHost, whole), expected)).toBeGreaterThan(0.01);
      onHost.dispose();

      const model = await loadModel(source, {
        ...{ backend: 'webgpu', weights: 'f32', cache: { coded: cache }, debug: true },
      });
      const before = memory().numTensors;
      const held = await model.createCache();
      expect(differenceByRange(await logitsOf(model, held), expected)).toBeLessThan(1e-3);
      expect(held.usedBytes).toBe(codedCacheBytes(source.shape, cache, ids.length));
      expect(held.byteLength).toBe(deviceBytes(held));
      const store = held.coded as PolicyStore;
      expect(held.hostByteLength).toBe(store.storedByteLength);
      const copy = held.fork();
      const next = await model.logitsBehind(copy, [5, 9]);
      const one = await model.extend(held, [5]);
      expect(differenceByRange(next.slice(0, one.length), one)).toBeLessThan(1e-6);
      expect(differenceByRange(next.slice(one.length), await model.extend(held, [9]))).toBeLessThan(1e-6);
      held.truncate(0);
      expect(held.usedBytes).toBe(0);
      expect(differenceByRange(await logitsOf(model, held), expected)).toBeLessThan(1e-3);
      held.dispose();
      copy.dispose();
      expect(await generated(model)).toEqual(text);
      const windows = () => model.forEachLayer(Int32Array.from(ids.slice(0, 20)), [], () => {});
      await expectKvlrError(windows, 'unsupported-feature', 'behind a cache for a policy that fetches values');
      expect(memory().numTensors).toBe(before);
      model.dispose();
    },
    240_000,
  );
});

/** A page of keys, values of the tokens that stay, entries of the newest tokens, two numbers of each slot. */
function deviceBytes({ coded }: KeyValueCache): number {
  return source.shape.layers.reduce((sum, { cache: { keySlots, keySlotWidth, valueSlotWidth } }, layer) => {
    const resident = (coded as PolicyStore).layerOf(0, layer).residentValues();
    const values = resident.reduce((all, { places }) => all + places.length, 0);
    const newest = 32 * keySlots * (keySlotWidth + valueSlotWidth);
    return sum + 2 * (256 * keySlots * keySlotWidth + values * valueSlotWidth + newest) + 8 * keySlots;
  }, 0);
}
