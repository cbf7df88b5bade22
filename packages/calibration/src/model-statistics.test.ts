import type { TensorRole } from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { collectStatistics } from './collect-statistics.ts';

/** W M W^T + W m b^T + b m^T W^T + b b^T: the second moment of W x + b from that of x, [rows, rows]. */
function throughProjection(
  weight: Float32Array,
  bias: Float32Array,
  moment: Float64Array,
  mean: Float64Array,
): Float64Array {
  const width = mean.length;
  const rows = bias.length;
  const projectedMean = Array.from({ length: rows }, (_, i) =>
    mean.reduce((sum, m, c) => sum + weight[i * width + c]! * m, 0),
  );
  const result = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < rows; j++) {
      let sum = bias[i]! * bias[j]! + projectedMean[i]! * bias[j]! + bias[i]! * projectedMean[j]!;
      for (let c = 0; c < width; c++) {
        for (let e = 0; e < width; e++) sum += weight[i * width + c]! * moment[c * width + e]! * weight[j * width + e]!;
      }
      result[i * rows + j] = sum;
    }
  }
  return result;
}

/** Diagonal blocks [heads, headDim, headDim] of a matrix over all heads. */
function diagonalBlocks(matrix: Float64Array, heads: number, headDim: number): number[] {
  const width = heads * headDim;
  return Array.from({ length: heads * headDim * headDim }, (_, index) => {
    const head = Math.floor(index / headDim ** 2);
    const row = head * headDim + (Math.floor(index / headDim) % headDim);
    return matrix[row * width + head * headDim + (index % headDim)]!;
  });
}

it('gives keys, values and queries of a real decoder the moments that follow from its inputs and weights', async () => {
  const tiny = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true, hiddenSize: 16 });
  const model = await loadModel(tiny, { backend: 'cpu' });
  const windows = [0, 1].map((seed) => randomTokenIds(20, tiny.shape.vocabSize, seed));
  const provenance = { modelId: tiny.id, textHash: 'random', seed: 0 };
  const { layers } = await collectStatistics({ activations: model, windows, provenance });
  model.dispose();

  for (const statistics of layers) {
    const read = (role: TensorRole) => tiny.tensors.readFloat32(tiny.tensorName(role, statistics.layer));
    const { inputSecondMoment, inputMean } = statistics;
    const project = async (weight: TensorRole, bias: TensorRole) =>
      throughProjection(await read(weight), await read(bias), inputSecondMoment, inputMean);
    const keys = await project('keyWeight', 'keyBias');
    const values = await project('valueWeight', 'valueBias');
    const queries = diagonalBlocks(await project('queryWeight', 'queryBias'), 4, 8);
    expect(differenceByRange(statistics.keySecondMoment, keys)).toBeLessThan(1e-5);
    expect(differenceByRange(statistics.valueSecondMoment, values)).toBeLessThan(1e-5);
    expect(differenceByRange(statistics.querySecondMoment, queries)).toBeLessThan(1e-5);
  }
});

it('keeps the energy of keys and queries under rotation', async () => {
  const tiny = createTinyModel({ seed: 2 });
  const model = await loadModel(tiny, { backend: 'cpu' });
  const windows = [randomTokenIds(30, tiny.shape.vocabSize)];
  const provenance = { modelId: tiny.id, textHash: 'random', seed: 0 };
  const { layers } = await collectStatistics({ activations: model, windows, provenance });
  model.dispose();

  const trace = (moment: Float64Array, width: number) =>
    moment.reduce((sum, value, index) => (index % (width + 1) === 0 ? sum + value : sum), 0);
  for (const { keySecondMoment, rotatedKeySecondMoment, keyMean, rotatedKeyMean } of layers) {
    const width = keyMean.length;
    expect(trace(rotatedKeySecondMoment, width)).toBeCloseTo(trace(keySecondMoment, width), 5);
    expect(differenceByRange(rotatedKeyMean, keyMean)).toBeGreaterThan(0.01);
  }
});
