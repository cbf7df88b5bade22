import { createNormalRandom } from '@kvlr/core';
import { createTinyModel, expectClose, expectKvlrError, oracleStatistics } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { builtInCodecs } from './cache-codecs.ts';
import { rowSampler } from './row-samples.ts';
import { sideStatistics } from './side-statistics.ts';
import { windowReader } from './window-reader.ts';

const { shape } = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const { hiddenSize, headDim, numAttentionHeads } = shape;
const normal = createNormalRandom(3);
const random = (length: number) => Float64Array.from({ length }, () => normal());
const weights = {
  query: random(numAttentionHeads * headDim * hiddenSize),
  key: random(2 * headDim * hiddenSize),
  value: random(2 * headDim * hiddenSize),
  output: random(hiddenSize * numAttentionHeads * headDim),
};
const inputs = Array.from({ length: 30 }, () => random(hiddenSize).map((x) => x + 0.3));
const statistics = oracleStatistics(shape, 0, weights, inputs);
const request = { shape, layer: 0, statistics, weights };

/** Rows of a projection for one input. */
const project = (matrix: Float64Array, x: Float64Array) =>
  Array.from({ length: matrix.length / hiddenSize }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * matrix[row * hiddenSize + i]!, 0),
  );

it('mean and covariance are those of the values of each slot', () => {
  const { mean, covariance } = sideStatistics({ ...request, side: 'values', keys: 'rotated' });
  const values = inputs.map((x) => project(weights.value, x));
  const means = values[0]!.map((_, i) => values.reduce((sum, row) => sum + row[i]!, 0) / values.length);
  expectClose(mean, means, 1e-8);
  const [slot, i, j] = [1, 2, 5];
  const [first, second] = [slot * headDim + i, slot * headDim + j];
  const expected =
    values.reduce((sum, row) => sum + (row[first]! - means[first]!) * (row[second]! - means[second]!), 0) /
    values.length;
  expect(covariance[(slot * headDim + i) * headDim + j]).toBeCloseTo(expected, 8);
});

it('an error of a value weighs as the output projections of its query heads make it', () => {
  const { errorWeight } = sideStatistics({ ...request, side: 'values', keys: 'rotated' });
  const error = random(headDim);
  for (const slot of [0, 1]) {
    let expected = 0;
    for (const head of [2 * slot, 2 * slot + 1]) {
      for (let row = 0; row < hiddenSize; row++) {
        const from = row * numAttentionHeads * headDim + head * headDim;
        expected += error.reduce((sum, e, i) => sum + e * weights.output[from + i]!, 0) ** 2;
      }
    }
    let received = 0;
    for (let i = 0; i < headDim; i++) {
      for (let j = 0; j < headDim; j++) {
        received += error[i]! * errorWeight[(slot * headDim + i) * headDim + j]! * error[j]!;
      }
    }
    expect(received / expected).toBeCloseTo(1, 10);
  }
});

it('an error of a key weighs as the queries that read it, alike for the two numbers of a pair', () => {
  const { errorWeight } = sideStatistics({ ...request, side: 'keys', keys: 'projected' });
  const queries = inputs.map((x) => project(weights.query, x));
  const [slot, j] = [1, 2];
  const energy = (i: number) =>
    [2, 3].reduce((sum, head) => sum + queries.reduce((s, row) => s + row[head * headDim + i]! ** 2, 0), 0) /
    inputs.length;
  const expected = (energy(j) + energy(j + headDim / 2)) / 2;
  for (const i of [j, j + headDim / 2]) {
    expect(errorWeight[(slot * headDim + i) * headDim + i]! / expected).toBeCloseTo(1, 10);
  }
});

it('a window gives back what its codec gives back, and leaves exact tokens as they were', () => {
  const tokens = 80;
  const width = 2 * headDim;
  const rows = Float32Array.from({ length: tokens * width }, () => normal());
  const cache = { codec: builtInCodecs['channel-2'], window: 5, first: 3 };
  const reader = windowReader({ shape, cache });
  expect(reader.coded('keys', tokens)).toEqual({ from: 3, to: 67 });
  expect(reader.coded('values', tokens)).toEqual({ from: 3, to: 75 });
  expect(reader.coded('keys', 2)).toEqual({ from: 2, to: 2 });
  const { keys } = reader.read({ layer: 0, tokens, keys: rows, values: rows });
  const codec = cache.codec.keys.create({ layer: 0, side: 'keys', slots: 2, width: headDim });
  const block = rows.slice(3 * width, 67 * width);
  expect(keys.slice(3 * width, 67 * width)).toEqual(codec.decode(codec.encode(block, 64), 64));
  expect(keys.slice(0, 3 * width)).toEqual(rows.slice(0, 3 * width));
  expect(keys.slice(67 * width)).toEqual(rows.slice(67 * width));
});

it('latent keys are refused where a format stores keys before RoPE', () => {
  const layers = shape.layers.map((layer) => ({ ...layer, cache: { ...layer.cache, keys: 'latent' as const } }));
  const cache = { codec: builtInCodecs['channel-4'], window: 0, first: 0 };
  expectKvlrError(() => windowReader({ shape: { ...shape, layers }, cache }), 'unsupported-feature', 'got latent keys');
});

it('the moment of the queries of a slot is the sum over its heads', () => {
  const { queryMoment } = sideStatistics({ ...request, side: 'keys', keys: 'projected' });
  const queries = inputs.map((x) => project(weights.query, x));
  const [slot, i, j] = [1, 2, 5];
  const expected = [2, 3].reduce(
    (sum, head) => sum + queries.reduce((of, row) => of + row[head * headDim + i]! * row[head * headDim + j]!, 0),
    0,
  );
  expect(queryMoment![(slot * headDim + i) * headDim + j]! / (expected / inputs.length)).toBeCloseTo(1, 8);
});

it('samples are spread evenly over the slices of the windows', () => {
  const { reader, samples } = rowSampler({ shape, tokens: 20, count: 8 });
  const [width, tokens] = [2 * headDim, 10];
  for (const window of [0, 1]) {
    const rows = Float32Array.from({ length: tokens * width }, (_, i) => window * tokens * 2 + Math.floor(i / headDim));
    expect(reader.read({ layer: 0, tokens, keys: rows, values: rows }).keys).toBe(rows);
  }
  const slices = Array.from({ length: samples[0]!.keys.length / headDim }, (_, i) => samples[0]!.keys[i * headDim]);
  expect(slices).toEqual([0, 5, 10, 15, 20, 25, 30, 35]);
});
