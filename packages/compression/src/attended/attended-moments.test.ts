import { createNormalRandom } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from '../compress-by-name.ts';
import { attendedValueFactors } from '../methods/values.ts';
import type { SourceLayer } from '../source-layer.ts';
import { readSourceLayer } from '../testing/compress-model.ts';
import { AttendedMoments, attendedMomentsBytes } from './attended-moments.ts';
import { attendedValues, type BlockInputs, projectHeads, stockAttention } from './attention.ts';

const groups = [
  [0, 3],
  [2, 1],
];
const tokens = 24;

function inputsOf({ shape }: SourceLayer, windows: number): BlockInputs {
  const normal = createNormalRandom(3);
  const data = Float64Array.from({ length: windows * tokens * shape.hiddenSize }, () => 0.2 + normal());
  return { rows: createMatrix(windows * tokens, shape.hiddenSize, data), tokens };
}

async function sourceLayer(numAttentionHeads: number, inputs = 4): Promise<SourceLayer & { inputs: BlockInputs }> {
  const model = createTinyModel({ seed: 6, numAttentionHeads, numKeyValueHeads: 4 });
  const layer = await readSourceLayer(model, 0);
  return { ...layer, inputs: inputsOf(layer, inputs) };
}

/** The energy of what the block's output lacks when only its values are compressed, by running the attention. */
function outputError(layer: SourceLayer, inputs: BlockInputs, values: 'attended' | 'start'): number {
  const { shape, weights } = layer;
  const compressed = compressLayer({
    ...layer,
    ...(values === 'start' && { attended: undefined }),
    groups,
    method: {
      title: 'values alone',
      description: '',
      source: '',
      portable: true,
      needsStatistics: true,
      // The values alone are looked at: their heads attend with the scores of the source.
      keys: (source) => ({
        kind: 'stock',
        query: source.weights.query,
        key: source.weights.key,
        keySlots: 4,
        keySlotWidth: shape.headDim,
      }),
      values: attendedValueFactors,
    },
  });
  const stock = stockAttention(layer);
  const before = projectHeads(attendedValues(stock, layer, inputs), weights);
  // Undo the order of the result, so that every query head meets its own keys, and give it its group's value.
  const { queryOrder } = compressed;
  const perGroup = shape.numAttentionHeads / groups.length;
  const outputs = queryOrder.map((queryHead, place) => {
    const keyHead = Math.floor((queryHead * 4) / shape.numAttentionHeads);
    const size = shape.headDim * shape.hiddenSize;
    const rows = (matrix: Float64Array, head: number) => matrix.slice(head * size, (head + 1) * size);
    const [attended] = attendedValues(
      {
        weights: {
          ...weights,
          query: rows(weights.query, queryHead),
          key: rows(weights.key, keyHead),
          value: rows(compressed.weights.value, Math.floor(place / perGroup)),
        },
        slots: { ...stock.slots, keySlots: 1, valueSlots: 1 },
        keys: stock.keys,
      },
      layer,
      inputs,
    );
    return attended!;
  });
  const after = projectHeads(outputs, compressed.weights);
  return before.data.reduce((sum, value, index) => sum + (value - after.data[index]!) ** 2, 0);
}

describe.each([4, 8])('values fitted to what %d query heads attend to', (numAttentionHeads) => {
  it('leave less error in the output of the block than the subspace they start from', async () => {
    const { inputs, ...layer } = await sourceLayer(numAttentionHeads);
    const moments = new AttendedMoments(layer, groups);
    moments.add(inputs);
    const attended = moments.moments();
    const start = outputError({ ...layer, attended }, inputs, 'start');
    const fitted = outputError({ ...layer, attended }, inputs, 'attended');
    expect(fitted).toBeLessThan(0.97 * start);
  });

  it('gather the same moments window by window', async () => {
    const { inputs, ...layer } = await sourceLayer(numAttentionHeads);
    const [whole, parts] = [new AttendedMoments(layer, groups), new AttendedMoments(layer, groups)];
    whole.add(inputs);
    const size = tokens * layer.shape.hiddenSize;
    for (let window = 0; window < 4; window++) {
      const data = inputs.rows.data.subarray(window * size, (window + 1) * size);
      parts.add({ rows: createMatrix(tokens, layer.shape.hiddenSize, data), tokens });
    }
    const numbers = (moments: AttendedMoments) =>
      moments.moments().flatMap((group) => group.moments.flatMap((row) => row.flatMap(({ data }) => [...data])));
    const expected = numbers(whole);
    for (const [index, value] of numbers(parts).entries()) expect(value).toBeCloseTo(expected[index]!, 10);
  });
});

it('refuses moments that would take more memory than allowed', async () => {
  const { inputs: _, ...layer } = await sourceLayer(4);
  const bytes = attendedMomentsBytes(layer.shape, groups);
  expect(bytes).toBe(2 * 2 * 8 * (2 * 2 * 8) ** 2);
  expect(() => new AttendedMoments(layer, groups, bytes - 1)).toThrowError(
    expect.objectContaining({ code: 'memory-exceeded', data: { bytes, maximumBytes: bytes - 1 } }),
  );
});
