import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { differenceByRange, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { poolHeads } from '../testing/pooled-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { loadModel } from './load-model.ts';

/** Families whose attention has something that LLaMA's has not, with half of their KV heads. */
const families: [name: string, heads: number][] = [
  ['qwen3', 1],
  ['gemma2', 1],
  ['phi3_fused', 1],
  ['gpt2', 2],
  ['bloom', 2],
];
/** For an emulated GPU on busy processors. */
const patience = 120_000;

const backends = (await testedBackends()).filter(({ backend }) => backend !== 'cpu');

describe.each(backends)('families with fewer KV heads on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(families)(
    '%s: has the logits of the cpu, in windows and behind a cache, weights packed or not',
    async (name, heads) => {
      const { directory, windows } = readGolden(name);
      const checkpoint = await openCheckpointDirectory(directory);
      const pooled = await poolHeads(checkpoint, heads);
      const { tokenIds } = windows.at(-1)!;
      const reference = await loadModel(pooled, { backend: 'cpu' });
      const expected = await reference.logits(tokenIds);
      reference.dispose();
      expect(differenceByRange(expected, windows.at(-1)!.logits)).toBeGreaterThan(1e-3);
      const plain = await loadModel(pooled, { backend });
      expect(differenceByRange(await plain.logits(tokenIds), expected)).toBeLessThan(1e-5);
      plain.dispose();
      const packed = await loadModel(pooled, { backend, weights: 'f32' });
      const cache = await packed.createCache(tokenIds.length);
      const prompt = tokenIds.length - 3;
      const decoded = [...(await packed.extend(cache, tokenIds.subarray(0, prompt)))];
      for (const id of tokenIds.subarray(prompt)) decoded.push(...(await packed.extend(cache, [id])));
      expect(differenceByRange(decoded, expected.subarray(expected.length - decoded.length))).toBeLessThan(1e-5);
      cache.dispose();
      packed.dispose();
      await checkpoint.close();
    },
    patience,
  );
});
