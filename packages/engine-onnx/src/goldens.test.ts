import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import type { LayerShape, ModelSource } from '@kvlr/core';
import { differenceByRange, goldenNames, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { loadOnnxModel } from './load-model.ts';

/** Falcon's penalties of distance count twice in the golden: transformers adds them to the scores and to the mask. */
function withGoldenPenalties({ id, shape, tensors, tensorName }: ModelSource): ModelSource {
  const layers = shape.layers.map((layer): LayerShape => {
    const { positions } = layer;
    if (positions.kind !== 'alibi' || positions.roundedScale === undefined) return layer;
    return { ...layer, positions: { ...positions, roundedScale: 2 * positions.roundedScale } };
  });
  return { id, shape: { ...shape, layers }, tensors, tensorName };
}

describe("transformers' golden checkpoints", () => {
  it.each(goldenNames())('%s: has their logits', async (name) => {
    const { directory, windows } = readGolden(name);
    const checkpoint = await openCheckpointDirectory(directory);
    const model = await loadOnnxModel(withGoldenPenalties(checkpoint), { threads: 1 });
    for (const { tokenIds, logits } of windows) {
      expect(differenceByRange(await model.logits(tokenIds), logits)).toBeLessThan(1e-5);
    }
    model.dispose();
    await checkpoint.close();
  });
});
