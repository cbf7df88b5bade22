import type { ModelSource, NormShape, PositionShape } from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import {
  createPlantedModel,
  createTinyModel,
  differenceByRange,
  randomTokenIds,
  type TinyModelSettings,
} from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressionMethods } from './methods/methods.ts';
import { compressModel } from './testing/compress-model.ts';

/** Largest difference of the logits allowed, as a share of their range; the compressed weights are float32. */
const tolerance = 1e-4;
const tokenIds = randomTokenIds(20, 50);

async function logitsOf(model: ModelSource): Promise<Float32Array> {
  const loaded = await loadModel(model, { backend: 'cpu' });
  const logits = await loaded.logits(tokenIds);
  loaded.dispose();
  return logits;
}

const plainRope = { type: 'default', theta: 10000 } as const;
const rope = (rotaryDim: number, pairs: 'half-split' | 'interleaved'): PositionShape => {
  return { kind: 'rope', rope: plainRope, rotaryDim, pairs };
};
const norm = (
  kind: NormShape['kind'],
  over: 'head' | 'heads' | 'projection',
  unitOffset = false,
): TinyModelSettings['attention'] => ({
  queryKeyNorm: { kind, over, unitOffset, epsilon: 1e-6, weight: true, bias: false },
});

interface Layout {
  name: string;
  settings: TinyModelSettings;
  /** Methods whose merges are exact. */
  exact: string[];
}

const folded = compressionMethods.names.filter(
  (name) => !['mean-pool', 'align-then-merge', 'kq-svd', 'clover'].includes(name),
);
const phasors = folded.filter((name) => name !== 'rope-exact-real');

const slopes = [0.5, 0.25, 0.125, 0.0625];
const layouts: Layout[] = [
  { name: 'no positions', settings: { positions: { kind: 'none' } }, exact: folded },
  { name: 'ALiBi', settings: { positions: { kind: 'alibi', slopes } }, exact: folded },
  { name: 'partial RoPE', settings: { positions: rope(4, 'half-split') }, exact: phasors },
  { name: 'interleaved RoPE', settings: { positions: rope(8, 'interleaved') }, exact: phasors },
  { name: 'partial interleaved RoPE', settings: { positions: rope(6, 'interleaved') }, exact: phasors },
  { name: 'RoPE in a window', settings: { window: 6 }, exact: phasors },
  {
    name: 'capped scores without RoPE',
    settings: { positions: { kind: 'none' }, attention: { softCap: 2 } },
    exact: folded,
  },
  { name: 'capped scores', settings: { attention: { softCap: 2 } }, exact: phasors },
];

const groups = [
  [0, 3],
  [2, 1],
];

describe.each(layouts)('$name', ({ settings, exact }) => {
  const model = createPlantedModel({ seed: 3, attentionBias: true, ...settings, groups });
  const expected = logitsOf(model);

  it.each(exact)('a planted merge is found without loss by %s', async (method) => {
    const compressed = await compressModel(model, groups, method);
    expect(differenceByRange(await logitsOf(compressed), await expected)).toBeLessThan(tolerance);
  });

  it('a planted merge is out of reach of means', async () => {
    const compressed = await compressModel(model, groups, 'mean-pool');
    expect(differenceByRange(await logitsOf(compressed), await expected)).toBeGreaterThan(100 * tolerance);
  });
});

/** Grouped-query attention that becomes narrower still. */
const grouped = [
  { name: '8 to 4 of 16 query heads', heads: [16, 8], groups: [0, 2, 4, 6].map((head) => [head, head + 1]) },
  { name: '3 to 1 of 9 query heads', heads: [9, 3], groups: [[0, 1, 2]] },
  { name: '4 to 2 of 12 query heads', heads: [12, 4], groups },
] as const;

describe.each(grouped)('$name', ({ heads: [numAttentionHeads, numKeyValueHeads], groups: merged }) => {
  it.each(['svd-w', 'rope-averaged', 'rope-averaged-received', 'rope-averaged-attended', 'svd-a', 'palu'])(
    'by %s',
    async (method) => {
      const planted = createPlantedModel({ seed: 6, numAttentionHeads, numKeyValueHeads, groups: merged });
      const compressed = await compressModel(planted, merged, method);
      expect(differenceByRange(await logitsOf(compressed), await logitsOf(planted))).toBeLessThan(tolerance);
    },
  );
});

const normed = [
  { name: 'RMSNorm of each head', attention: norm('rms', 'head') },
  { name: 'RMSNorm of each head, scales less one', attention: norm('rms', 'head', true) },
  { name: 'RMSNorm of each head, scales of its own', attention: norm('rms', 'heads') },
  { name: 'RMSNorm over the projection', attention: norm('rms', 'projection') },
];
const stockMethods = ['svd-w', 'rope-exact', 'rope-exact-output', 'rope-averaged'];
const latentMethods = ['svd-a', 'svd-a-grouped-metric'];

describe.each(normed)('$name between projection and RoPE', ({ attention }) => {
  const planted = createPlantedModel({ seed: 3, attention, groups });
  const expected = logitsOf(planted);

  it.each([...stockMethods, ...latentMethods])(
    'heads that differ by rotations merge without loss by %s',
    async (method) => {
      const compressed = await compressModel(planted, groups, method);
      expect(differenceByRange(await logitsOf(compressed), await expected)).toBeLessThan(tolerance);
    },
  );
});

const kept = [
  ...normed,
  { name: 'LayerNorm of each head', attention: norm('layer', 'heads') },
  { name: 'clipping', attention: { clip: 0.7 } },
];

describe.each(kept)('$name behind the projections', ({ attention }) => {
  const model = createTinyModel({ seed: 4, attention, numAttentionHeads: 8, numKeyValueHeads: 4 });
  const expected = logitsOf(model);
  // Its latents cannot be normed; values cut head by head cannot be clipped as whole ones are.
  const without = attention?.clip === undefined ? ['palu'] : ['palu', 'kq-svd', 'clover'];

  it.each(compressionMethods.names.filter((name) => !without.includes(name)))(
    'heads that are kept stay as they are by %s',
    async (method) => {
      const compressed = await compressModel(model, [[2], [0], [1], [3]], method);
      expect(differenceByRange(await logitsOf(compressed), await expected)).toBeLessThan(tolerance);
    },
  );
});
