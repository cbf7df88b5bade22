import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { differenceByRange, goldenNames, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../testing/tested-backends.ts';
import { loadModel } from './load-model.ts';

describe.each(await testedBackends())('checkpoints with wide heads on $backend', ({ backend, skip }) => {
  // An emulated GPU takes seconds for the shaders of one.
  const tested = backend === 'webgpu' ? ['llama_mha'] : goldenNames('goldens-wide');

  it.skipIf(skip).each(tested)(
    "%s: has transformers' logits, whole and behind a cache",
    async (name) => {
      const { directory, windows } = readGolden(name, 'goldens-wide');
      const checkpoint = await openCheckpointDirectory(directory);
      const model = await loadModel(checkpoint, { backend });
      for (const { tokenIds, logits } of windows) {
        expect(differenceByRange(await model.logits(tokenIds), logits)).toBeLessThan(1e-5);
        const cache = await model.createCache(tokenIds.length);
        const prompt = tokenIds.length - 3;
        const decoded = [...(await model.extend(cache, tokenIds.subarray(0, prompt)))];
        for (const id of tokenIds.subarray(prompt)) decoded.push(...(await model.extend(cache, [id])));
        expect(differenceByRange(decoded, logits.subarray(logits.length - decoded.length))).toBeLessThan(1e-5);
        cache.dispose();
      }
      model.dispose();
      await checkpoint.close();
    },
    120_000,
  );
});
