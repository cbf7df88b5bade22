import { randomWindows } from '@kvlr/calibration';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heldOutWindows } from './held-out-windows.ts';

/** A stream in which every token tells its place. */
const places = (count: number) => Int32Array.from({ length: count }, (_, place) => place);

describe('heldOutWindows', () => {
  it('have no token in common with the windows of the statistics, nor with each other', () => {
    fc.assert(
      fc.property(fc.integer({ min: 56, max: 300 }), fc.integer(), fc.integer(), (tokens, seed, ownSeed) => {
        const calibration = { windows: 3, windowLength: 12, seed };
        const settings = { policy: 'measured', windows: 4, windowLength: 5, seed: ownSeed };
        const used = randomWindows(places(tokens), { count: 3, length: 12, seed }).flatMap((window) => [...window]);
        const held = heldOutWindows(places(tokens), calibration, settings);
        const all = held.flatMap((window) => [...window]);
        expect(new Set(all).size).toBe(all.length);
        expect(all.filter((place) => used.includes(place))).toEqual([]);
        for (const window of held) expect([...window]).toEqual([...places(5)].map((place) => window[0]! + place));
        expect(held.length).toBeLessThanOrEqual(4);
        expect(heldOutWindows(places(tokens), calibration, settings)).toEqual(held);
      }),
    );
  });

  it('says what it needs when the statistics take everything', () => {
    const settings = { policy: 'measured', windows: 4, windowLength: 5, seed: 0 };
    expect(() => heldOutWindows(places(12), { windows: 3, windowLength: 12, seed: 0 }, settings)).toThrow(
      expect.objectContaining({ code: 'text-too-short', data: { required: 5, available: 12 } }),
    );
  });
});
