import { builtInCodecs, builtInPolicies } from '@kvlr/cache';
import { type CodedCache, codedCacheBytes } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { requireCodedFits } from './cached-attention.ts';
import type { KeyValueCache } from './key-value-cache.ts';
import type { PolicyStore } from './policy-store.ts';

const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const ids = Array.from({ length: 75 }, (_, i) => (7 * i + 3) % source.shape.vocabSize);
const under = (policy: keyof typeof builtInPolicies, codec: keyof typeof builtInCodecs = 'f16'): CodedCache => ({
  ...{ codec: builtInCodecs[codec], window: 5, first: 2, policy: { policy: builtInPolicies[policy], keep: 0.5 } },
});

/** Logits after the last of the ids: a prompt in one piece, then tokens one by one. */
async function logitsOf(model: DecoderModel, cache: KeyValueCache): Promise<Float32Array> {
  let logits = await model.extend(cache, ids.slice(0, 40));
  for (const id of ids.slice(40)) logits = await model.extend(cache, [id]);
  return logits;
}

/** Tokens that each slot of each layer held when the policy was last asked. */
function countsOfSlots({ coded }: KeyValueCache): number[][] {
  const store = coded as PolicyStore;
  return source.shape.layers.map((_, layer) =>
    store
      .layerOf(0, layer)
      .slotRows()
      .map(({ counts }) => counts.length),
  );
}

/** Entries in halves with room for 32 more in every slot, two numbers about each slot, and the logarithms of counts. */
function deviceBytes(counts: number[][], { policy }: CodedCache): number {
  return source.shape.layers.reduce((sum, { cache: { keySlotWidth, valueSlotWidth } }, layer) => {
    const places = counts[layer]!.reduce((all, count) => all + count + 32, 0);
    const ofPlace = 2 * (keySlotWidth + valueSlotWidth) + (policy!.policy.countsTokens ? 4 : 0);
    return sum + places * ofPlace + 8 * counts[layer]!.length;
  }, 0);
}

const webgpu = (await testedBackends()).find(({ backend }) => backend === 'webgpu')!;

describe('a policy on WebGPU', () => {
  it.skipIf(webgpu.skip).each(['sinks', 'snapkv', 'kvmerger', 'razor', 'uncomp', 'kvzip'] as const)(
    '%s lets the tokens stay that stay on the host',
    async (name) => {
      const cache = under(name);
      const onHost = await loadModel(source, { backend: 'wasm', weights: 'f32', cache: { coded: cache } });
      const expected = await logitsOf(onHost, await onHost.createCache());
      const text: number[] = [];
      for await (const { tokenId } of onHost.generate(ids.slice(0, 45), { maxNewTokens: 24 })) text.push(tokenId);
      onHost.dispose();

      const model = await loadModel(source, {
        backend: 'webgpu',
        weights: 'f32',
        cache: { coded: cache },
        debug: true,
      });
      const before = memory().numTensors;
      const held = await model.createCache();
      expect(differenceByRange(await logitsOf(model, held), expected)).toBeLessThan(1e-3);
      if (name !== 'kvzip') {
        expect(held.usedBytes).toBe(codedCacheBytes(source.shape, cache, ids.length));
      }
      const counts = countsOfSlots(held);
      // Slots of one layer differ where a policy spreads its budget.
      const differ = counts.some((of) => new Set(of).size > 1);
      expect(differ).toBe(builtInPolicies[name].spread !== undefined);
      expect(held.byteLength - held.coded!.byteLength).toBe(deviceBytes(counts, cache));
      const copy = held.fork();
      const next = await model.extend(copy, [5]);
      expect(differenceByRange(next, await model.extend(held, [5]))).toBeLessThan(1e-6);
      held.truncate(0);
      expect(differenceByRange(await logitsOf(model, held), expected)).toBeLessThan(1e-3);
      held.dispose();
      copy.dispose();
      const generated: number[] = [];
      for await (const { tokenId } of model.generate(ids.slice(0, 45), { maxNewTokens: 24 })) generated.push(tokenId);
      expect(generated).toEqual(text);
      expect(memory().numTensors).toBe(before);
      model.dispose();
    },
    240_000,
  );

  it('is refused by name for codes, and for several texts', () => {
    const refused: [CodedCache, number, RegExp][] = [
      [under('snapkv', 'int8'), 1, /f16 under a policy on WebGPU/],
      [under('snapkv'), 2, /one sequence under a policy on WebGPU, got 2|one sequence under a policy on WebGPU/],
    ];
    for (const [cache, batch, message] of refused) {
      const require = () => requireCodedFits(source.shape, cache, { backend: 'webgpu', batch });
      expectKvlrError(require, 'unsupported-feature', message);
    }
  });
});
