import { stockLayout } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { exampleShape, withLayouts } from '../testing/example-reports.ts';
import { describeLayout, describeShape, formatWorkTime, isStockShape, layoutKind } from './describe.ts';

const latent = { keySlots: 1, keySlotWidth: 128, valueSlots: 4, valueSlotWidth: 32, keys: 'latent' as const };

describe('describeLayout', () => {
  it('names uniform, uneven and latent layouts', () => {
    const uneven = withLayouts(exampleShape(4), [stockLayout(2, 32), stockLayout(6, 32)]);
    const latentShape = withLayouts(exampleShape(4), [latent, latent]);
    const mixed = withLayouts(exampleShape(4), [latent, stockLayout(4, 32)]);
    expect([exampleShape(4), uneven, latentShape, mixed].map(describeLayout)).toEqual([
      '4',
      '2 to 6',
      '1 x 128 key + 4 x 32 value',
      'mixed, 256 to 256 numbers per token',
    ]);
    expect([exampleShape(4), uneven, latentShape, mixed].map(isStockShape)).toEqual([true, false, false, false]);
  });

  it('describes a model in one line', () => {
    expect(describeShape(exampleShape(8))).toContain('8 query heads, 8 KV heads of 32');
    const latentShape = withLayouts(exampleShape(4), [latent, latent]);
    expect(describeShape(latentShape)).toContain('a cache of 1 x 128 key + 4 x 32 value per layer');
  });

  it('calls each layout what it is', () => {
    const uneven = withLayouts(exampleShape(4), [stockLayout(2, 32), stockLayout(6, 32)]);
    const of = (layout: typeof latent | { keys: 'stock' | 'rebuilt' }) =>
      withLayouts(exampleShape(4), [{ ...stockLayout(4, 32), ...layout }]);
    const narrow = { ...stockLayout(4, 32), valueSlots: 8, valueSlotWidth: 16 };
    const shapes = [exampleShape(4), uneven, of(latent), of({ keys: 'rebuilt' }), of(narrow)];
    expect(shapes.map(layoutKind)).toEqual([
      ...['stock', 'per-layer heads', 'latent keys', 'rebuilt keys', 'narrow values'],
    ]);
  });
});

const stage = (seconds: number, changes: { skipped?: boolean; earlierSeconds?: number | null } = {}) => {
  return { title: 'Stage', seconds, ...changes };
};

describe('formatWorkTime', () => {
  it.each([
    ['12 s', [stage(12)]],
    ['42 s', [stage(12), stage(30, { earlierSeconds: 0 })]],
    ['1 min 10 s (1 min 00 s of it in earlier runs)', [stage(10, { earlierSeconds: 60 })]],
    ['1 min 00 s (in an earlier run)', [stage(0.1, { skipped: true, earlierSeconds: 60 })]],
    ['from an earlier run', [stage(0.1, { skipped: true, earlierSeconds: null })]],
    ['from an earlier run', [stage(0.1, { skipped: true })]],
    ['10 s (without earlier work of unknown time)', [stage(10, { earlierSeconds: null })]],
    [
      '1 min 15 s (1 min 00 s of it in earlier runs; without earlier work of unknown time)',
      [stage(0.1, { skipped: true, earlierSeconds: 60 }), stage(0.2, { skipped: true }), stage(15)],
    ],
  ])('%s', (text, stages) => {
    expect(formatWorkTime(stages)).toBe(text);
  });
});
