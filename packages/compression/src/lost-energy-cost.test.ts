import { createPlantedModel, createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { lostEnergyCost } from './lost-energy-cost.ts';
import { readSourceLayer } from './testing/compress-model.ts';

describe('lostEnergyCost', () => {
  const planted = [
    [0, 2],
    [1, 3],
  ];
  const settings = { seed: 4, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true };

  it('is zero for a single head and for heads that merge without loss, and positive for others', async () => {
    const cost = lostEnergyCost(await readSourceLayer(createPlantedModel({ ...settings, groups: planted }), 0));
    for (const heads of [[0], [3], [0, 2], [1, 3]]) expect(cost(heads)).toBeLessThan(1e-10);
    for (const heads of [
      [0, 1],
      [2, 3],
      [0, 1, 2, 3],
    ])
      expect(cost(heads)).toBeGreaterThan(1e-2);
  });

  it('does not depend on the order of the heads, grows with the group, and stays a share', async () => {
    const cost = lostEnergyCost(await readSourceLayer(createTinyModel(settings), 1));
    expect(cost([2, 1])).toBeCloseTo(cost([1, 2]), 12);
    expect(cost([0, 1, 2])).toBeGreaterThan(cost([0, 1]));
    expect(cost([0, 1]) + cost([2, 3])).toBeLessThan(cost([0, 1, 2, 3]));
    expect(cost([0, 1, 2, 3])).toBeLessThan(2);
  });

  it('needs statistics', async () => {
    const layer = await readSourceLayer(createTinyModel(settings), 0);
    expect(() => lostEnergyCost({ ...layer, statistics: undefined })).toThrow(/expected statistics of layer 0/);
  });
});
