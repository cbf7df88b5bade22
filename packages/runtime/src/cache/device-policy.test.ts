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

const webgpu = (await testedBackends()).find(({ backend }) => backend === 'webgpu')!;

describe('a policy on WebGPU', () => {
  it.skipIf(webgpu.skip).each(['sinks', 'snapkv', 'kvmerger', 'kvzip'] as const)(
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
      expect(held.byteLength).toBeGreaterThan(held.usedBytes);
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

  it('is refused by name where slots hold different numbers of tokens, codes, or several texts', () => {
    const refused: [CodedCache, number, RegExp][] = [
      [under('razor'), 1, /as many tokens stay in every slot.*, got "all of the slots that look back/],
      [under('uncomp'), 1, /as many tokens stay in every slot/],
      [under('snapkv', 'int8'), 1, /f16 under a policy on WebGPU/],
      [under('snapkv'), 2, /one sequence under a policy on WebGPU, got 2|one sequence under a policy on WebGPU/],
    ];
    for (const [cache, batch, message] of refused) {
      const require = () => requireCodedFits(source.shape, cache, { backend: 'webgpu', batch });
      expectKvlrError(require, 'unsupported-feature', message);
    }
  });
});
