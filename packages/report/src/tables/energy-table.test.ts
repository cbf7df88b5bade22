import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeEnergy, effectiveRank, energyTable } from './energy-table.ts';

describe('effectiveRank', () => {
  it('counts equal directions, and ignores those without energy', () => {
    expect(effectiveRank([3, 3, 3, 3])).toBeCloseTo(4, 12);
    expect(effectiveRank([5, 5, 0, 0, 0])).toBeCloseTo(2, 12);
    expect(effectiveRank([7])).toBeCloseTo(1, 12);
    // Shares 1/2, 1/4, 1/4: entropy 1.5 ln 2.
    expect(effectiveRank([2, 1, 1])).toBeCloseTo(2 ** 1.5, 12);
    expect(effectiveRank([0, 0])).toBeNaN();
    expect(effectiveRank([])).toBeNaN();
  });

  it('lies between one and the count, whatever the scale', () => {
    const spectrum = fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(spectrum, fc.double({ min: 0.1, max: 100, noNaN: true }), (values, scale) => {
        const rank = effectiveRank(values);
        expect(rank).toBeGreaterThanOrEqual(1 - 1e-9);
        expect(rank).toBeLessThanOrEqual(values.length + 1e-9);
        expect(effectiveRank(values.map((value) => value * scale))).toBeCloseTo(rank, 8);
      }),
    );
  });
});

describe('the energy of layers', () => {
  const spectra = [
    { layer: 0, keysBeforeRope: [9, 1, 0, 0], keysAfterRope: [1, 1, 1, 1], values: [6, 2, 1, 1] },
    { layer: 1, keysBeforeRope: [8, 2, 0, 0], keysAfterRope: [1, 1, 1, 1], values: [1, 0, 0, 0] },
  ];

  it('states shares and rank for keys before and after RoPE and for values', () => {
    const { columns, rows } = energyTable(spectra);
    expect(columns).toHaveLength(1 + 3 * 3);
    expect(rows[0]).toEqual(['0', '90.0%', '100.0%', '1 of 4', '25.0%', '50.0%', '4 of 4', '60.0%', '80.0%', '3 of 4']);
  });

  it('sums them up over the layers', () => {
    expect(describeEnergy(spectra)).toContain(
      'A quarter of the directions holds 80% to 90% of the energy of keys before RoPE, 25% of the energy of keys after RoPE, 60% to 100% of the energy of values.',
    );
  });
});
