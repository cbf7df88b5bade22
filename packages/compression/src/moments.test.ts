import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { scoreWeight } from './moments.ts';
import { randomInputs, readSourceLayer } from './testing/compress-model.ts';

describe('scoreWeight', () => {
  it('is the variance of what a single token would contribute to the output', async () => {
    const model = createTinyModel({ seed: 3, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true });
    const layer = await readSourceLayer(model, 1);
    const { headDim, hiddenSize } = layer.shape;
    const { value, output } = layer.weights;
    const queryHead = 5;
    const contributions = randomInputs(64, hiddenSize, 101).map((input) => {
      const ownValue = Array.from({ length: headDim }, (_, row) =>
        input.reduce((sum, entry, i) => sum + value[(2 * headDim + row) * hiddenSize + i]! * entry, 0),
      );
      return Array.from({ length: hiddenSize }, (_, row) =>
        ownValue.reduce((sum, entry, c) => sum + output[row * 8 * headDim + queryHead * headDim + c]! * entry, 0),
      );
    });
    let variance = 0;
    for (let row = 0; row < hiddenSize; row++) {
      const mean = contributions.reduce((sum, vector) => sum + vector[row]!, 0) / contributions.length;
      variance += contributions.reduce((sum, vector) => sum + (vector[row]! - mean) ** 2, 0) / contributions.length;
    }
    expect(scoreWeight(layer, queryHead) / variance).toBeCloseTo(1, 8);
  });
});
