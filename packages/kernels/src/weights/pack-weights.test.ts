import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { packedByteLength, packWeights, unpackWeights, weightFormats } from './pack-weights.ts';

/** The greatest error of one number, as a share of the greatest magnitude of its group (int4: of its span). */
const tolerance = { f32: 0, f16: 2 ** -11, int8: 0.51 / 127, int4: 0.55 / 15 };

it.each(weightFormats)('%s: unpacks to within half a step, whatever the shape', (format) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 100 }),
      fc.nat(),
      fc.constantFrom(1e-3, 1, 30),
      (rows, columns, seed, size) => {
        const normal = createNormalRandom(seed);
        const values = Float32Array.from({ length: rows * columns }, () => size * normal());
        const packed = packWeights(values, rows, columns, format);
        expect(packed.words.byteLength + packed.scales.byteLength).toBe(packedByteLength(format, rows, columns));
        const unpacked = unpackWeights(packed);
        values.forEach((value, place) => {
          const start = place - ((place % columns) % 32);
          const end = Math.min(start + 32, place - (place % columns) + columns);
          const group = values.subarray(start, end);
          const span = Math.max(...group) - Math.min(...group);
          const range =
            format === 'int4' ? span + 0.02 * Math.max(...group.map(Math.abs)) : Math.max(...group.map(Math.abs));
          expect(Math.abs(unpacked[place]! - value)).toBeLessThanOrEqual(tolerance[format] * range + 1e-7);
        });
      },
    ),
    { numRuns: 60 },
  );
});

it.each(weightFormats)('%s: a range of rows packs to the same words as within the whole', (format) => {
  const normal = createNormalRandom(1);
  const values = Float32Array.from({ length: 6 * 40 }, normal);
  const whole = packWeights(values, 6, 40, format);
  const part = packWeights(values.subarray(2 * 40, 5 * 40), 3, 40, format);
  const middle = (words: Float32Array | Int32Array) => words.subarray(words.length / 3, (words.length * 5) / 6);
  expect(part.words).toEqual(middle(whole.words));
  expect(part.scales).toEqual(middle(whole.scales));
});

it('refuses wrong sizes and numbers that the format cannot hold', () => {
  expectKvlrError(() => packWeights(new Float32Array(5), 2, 3, 'f32'), 'tensor-shape', 'values: expected 2 x 3');
  expectKvlrError(() => packWeights(Float32Array.of(1, Number.NaN), 1, 2, 'int8'), 'non-finite', 'row 0, column 1');
  expectKvlrError(() => packWeights(Float32Array.of(1, 70000), 1, 2, 'f16'), 'non-finite', '65504 for f16');
});
