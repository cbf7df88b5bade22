import { applyCompression } from '@kvlr/checkpoint';
import { loadModel } from '@kvlr/runtime';
import { createTinyModel, differenceByRange, expectClose, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from '../compress-by-name.ts';
import { compressionMethods } from '../methods/methods.ts';
import type { CompressionMethod } from '../ports.ts';
import { readSourceLayer } from '../testing/compress-model.ts';
import { lostRankEnergy, rankCandidates, valueSlotsOfRank } from './ranks.ts';

const layer = await readSourceLayer(createTinyModel({ seed: 2 }), 1);
const { headDim, numKeyValueHeads } = layer.shape;
const width = numKeyValueHeads * headDim;
const groups = [
  [0, 3],
  [2, 1],
];
const freeMethods = Object.entries(compressionMethods.entries).filter(([, { freeRanks }]) => freeRanks);

describe('methods with free ranks', () => {
  it('are the latent ones of the paper and palu', () => {
    const names = ['svd-a', 'svd-a-metric', 'svd-a-grouped', 'svd-a-grouped-metric', 'palu'];
    expect(freeMethods.map(([name]) => name)).toEqual(names);
  });

  it.each(freeMethods)('%s keeps what it is told of keys and of values', (_, method) => {
    for (const keys of rankCandidates(layer.shape, 2)) {
      for (const values of rankCandidates(layer.shape, 2)) {
        const { slots, weights } = compressLayer({ ...layer, groups, method, ranks: { keys, values } });
        expect(slots.keySlots * slots.keySlotWidth).toBe(keys);
        expect(slots.valueSlots * slots.valueSlotWidth).toBe(values);
        expect(slots.valueSlotWidth).toBeLessThanOrEqual(headDim);
        expect(weights.value.length).toBe(values * layer.shape.hiddenSize);
      }
    }
  });

  it.each(freeMethods)('%s does the same without ranks and with the uniform ones', (_, method) => {
    const ranks = { keys: 2 * headDim, values: 2 * headDim };
    expect(compressLayer({ ...layer, groups, method, ranks })).toEqual(compressLayer({ ...layer, groups, method }));
  });

  it('refuse ranks that leave slots uneven, and other methods any', () => {
    const compress = (method: string, keys: number) => () =>
      compressLayer({ ...layer, groups, method, ranks: { keys, values: 2 * headDim } });
    expect(compress('palu', 7)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    expect(compress('palu', 2 * width)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    expect(compress('rope-averaged', 8)).toThrow(/whole heads/);
  });
});

describe('models whose keys and values keep different ranks in each layer', async () => {
  const model = createTinyModel({ seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true });
  const tokenIds = randomTokenIds(20, 50);
  const layers = await Promise.all([0, 1].map((index) => readSourceLayer(model, index)));
  const compressed = (method: CompressionMethod, ranks: { keys: number; values: number }[]) =>
    applyCompression(
      model,
      layers.map((source, index) => compressLayer({ ...source, groups, method, ranks: ranks[index]! })),
    );
  const full = { keys: width, values: width };

  it.each(freeMethods)('%s is exact where nothing is left out', async (_, method) => {
    const result = await oracleLogits(compressed(method, [full, full]), tokenIds);
    expect(differenceByRange(result, await oracleLogits(model, tokenIds))).toBeLessThan(1e-4);
  });

  it.each(freeMethods)('%s runs as a plain decoder in Float64 says', async (_, method) => {
    const source = compressed(method, [
      { keys: 28, values: 12 },
      { keys: 8, values: 24 },
    ]);
    const runtime = await loadModel(source, { backend: 'cpu' });
    const logits = await runtime.logits(tokenIds);
    runtime.dispose();
    expect(differenceByRange(logits, await oracleLogits(source, tokenIds))).toBeLessThan(1e-4);
  });
});

describe('valueSlotsOfRank', () => {
  it('splits groups when a slot would be wider than a head', () => {
    const pairs = [
      [0, 5],
      [3, 1],
    ];
    expect(valueSlotsOfRank(pairs, 8, 8)).toEqual({ heads: pairs, width: 4 });
    expect(valueSlotsOfRank(pairs, 16, 8)).toEqual({ heads: pairs, width: 8 });
    expect(valueSlotsOfRank(pairs, 24, 8)).toEqual({ heads: [[0], [5], [1], [3]], width: 6 });
    expect(valueSlotsOfRank([[0, 1, 2, 3, 4, 5]], 40, 8)).toEqual({
      heads: [[0], [1], [2], [3], [4], [5]],
      width: 40 / 6,
    });
    expect(valueSlotsOfRank([[0, 1, 2, 3, 4, 5]], 24, 8).heads).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
  });
});

describe('rankCandidates', () => {
  it('are steps of half a head, the uniform rank and everything', () => {
    expect(rankCandidates({ numKeyValueHeads: 4, headDim: 16 }, 2)).toEqual([8, 16, 24, 32, 40, 48, 56, 64]);
    expect(rankCandidates({ numKeyValueHeads: 12, headDim: 16 }, 1)).toEqual([
      12,
      16,
      ...Array.from({ length: 14 }, (_, i) => 24 + 12 * i),
      192,
    ]);
  });
});

describe('lostRankEnergy', () => {
  it.each(freeMethods)('falls from everything to nothing with the rank (%s)', (_, { freeRanks }) => {
    const lost = lostRankEnergy(layer, groups, freeRanks!);
    for (const side of ['keys', 'values'] as const) {
      const shares = rankCandidates(layer.shape, 2).map((rank) => lost(side, rank));
      expect(shares[0]).toBeGreaterThan(0);
      expect(shares[0]).toBeLessThan(1);
      expect(shares.at(-1)).toBe(0);
      expectClose(
        Float64Array.from(shares),
        [...shares].sort((a, b) => b - a),
        1e-12,
      );
    }
  });

  it('is the error of the factors, in the metric of the outputs', () => {
    // The values of svd-a-metric at this rank are the best in that metric; their error is summed over the moments here.
    const lost = lostRankEnergy(layer, groups, { basis: 'layer', stage: 'rotated' });
    const { values } = compressionMethods.get('svd-a-metric');
    const { weights, statistics, shape } = layer;
    let [wrong, whole] = [0, 0];
    for (const heads of groups) {
      const { encoder, decoders } = values(layer, heads, headDim);
      const size = heads.length * headDim;
      const moment = (row: number, column: number) => {
        const place = (index: number) => heads[Math.floor(index / headDim)]! * headDim + (index % headDim);
        return statistics!.valueSecondMoment[place(row) * width + place(column)]!;
      };
      // W_O (I - B A) for the query head of each KV head (as many query heads as KV heads here).
      heads.forEach((head, member) => {
        for (let output = 0; output < shape.hiddenSize; output++) {
          const start = output * width + head * headDim;
          const exact = Float64Array.from({ length: size }, (_, column) =>
            Math.floor(column / headDim) === member ? weights.output[start + (column % headDim)]! : 0,
          );
          const error = exact.map((value, column) => {
            let kept = 0;
            for (let inner = 0; inner < headDim; inner++) {
              let through = 0;
              for (let row = 0; row < headDim; row++)
                through += weights.output[start + row]! * decoders[member]!.data[row * headDim + inner]!;
              kept += through * encoder.data[inner * size + column]!;
            }
            return value - kept;
          });
          const energy = (vector: Float64Array) => {
            let sum = 0;
            for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) sum += vector[i]! * moment(i, j) * vector[j]!;
            return sum;
          };
          wrong += energy(error);
          whole += energy(exact);
        }
      });
    }
    expect(lost('values', 2 * headDim) / (wrong / whole)).toBeCloseTo(1, 1);
  });
});
