import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createMatrix } from '@kvlr/linalg';
import { loadModel } from '@kvlr/runtime';
import { differenceByRange, goldenNames, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { readAttentionWeights } from '../source-layer.ts';
import { attendedValues, stockAttention } from './attention.ts';

describe('attendedValues', () => {
  it.each(goldenNames())('%s: attends as the runtime does, which transformers agrees with', async (name) => {
    const { directory, windows } = readGolden(name);
    const { tokenIds } = windows.at(-1)!;
    const checkpoint = await openCheckpointDirectory(directory);
    const { shape } = checkpoint;
    const model = await loadModel(checkpoint, { backend: 'cpu' });
    await model.forEachLayer(tokenIds, ['blockInput', 'attended'], async ({ layer, blockInput, attended }) => {
      const source = { shape, layer, weights: await readAttentionWeights(checkpoint, layer) };
      const rows = createMatrix(tokenIds.length, shape.hiddenSize, Float64Array.from(blockInput!));
      const heads = attendedValues(stockAttention(source), source, { rows, tokens: tokenIds.length });
      const { headDim } = shape;
      const byToken = Float64Array.from({ length: attended!.length }, (_, index) => {
        const place = index % (heads.length * headDim);
        const token = Math.floor(index / (heads.length * headDim));
        return heads[Math.floor(place / headDim)]!.data[token * headDim + (place % headDim)]!;
      });
      expect(differenceByRange(byToken, attended!)).toBeLessThan(1e-5);
    });
    model.dispose();
    await checkpoint.close();
  });
});
