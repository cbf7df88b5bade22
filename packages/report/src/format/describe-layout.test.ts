import { stockLayout } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { exampleShape } from '../testing/example-reports.ts';
import { describeLayout, describeShape, isStockShape } from './describe-layout.ts';
import { layoutKind } from './layout-kind.ts';

const latent = { keySlots: 1, keySlotWidth: 128, valueSlots: 4, valueSlotWidth: 32, keys: 'latent' as const };

describe('describeLayout', () => {
  it('names uniform, uneven and latent layouts', () => {
    const uneven = { ...exampleShape(4), layers: [stockLayout(2, 32), stockLayout(6, 32)] };
    const latentShape = { ...exampleShape(4), layers: [latent, latent] };
    const mixed = { ...exampleShape(4), layers: [latent, stockLayout(4, 32)] };
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
    const latentShape = { ...exampleShape(4), layers: [latent, latent] };
    expect(describeShape(latentShape)).toContain('a cache of 1 x 128 key + 4 x 32 value per layer');
  });

  it('calls each layout what it is', () => {
    const uneven = { ...exampleShape(4), layers: [stockLayout(2, 32), stockLayout(6, 32)] };
    const of = (layout: typeof latent | { keys: 'stock' | 'rebuilt' }) => ({
      ...exampleShape(4),
      layers: [{ ...stockLayout(4, 32), ...layout }],
    });
    const narrow = { ...stockLayout(4, 32), valueSlots: 8, valueSlotWidth: 16 };
    const shapes = [exampleShape(4), uneven, of(latent), of({ keys: 'rebuilt' }), of(narrow)];
    expect(shapes.map(layoutKind)).toEqual([
      ...['stock', 'per-layer heads', 'latent keys', 'rebuilt keys', 'narrow values'],
    ]);
  });
});
