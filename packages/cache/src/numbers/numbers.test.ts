import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeWords, packCodes, unpackCodes } from './bit-codes.ts';
import { gaussianLevels, nearestLevel } from './gaussian-levels.ts';
import { hadamard, hadamardSize } from './hadamard.ts';

describe('codes in words', () => {
  it('come back, wherever they begin, and touch nothing beyond their words', () => {
    const input = fc.integer({ min: 1, max: 8 }).chain((bits) =>
      fc.record({
        bits: fc.constant(bits),
        at: fc.nat(3),
        codes: fc.uint8Array({ max: 2 ** bits - 1, minLength: 1, maxLength: 80 }),
      }),
    );
    fc.assert(
      fc.property(input, ({ bits, at, codes }) => {
        const words = new Uint32Array(at + codeWords(codes.length, bits) + 1);
        packCodes(codes, bits, words, at);
        const read = new Uint8Array(codes.length);
        unpackCodes(words, at, bits, read);
        expect(read).toEqual(codes);
        expect(words.subarray(0, at).every((word) => word === 0)).toBe(true);
        expect(words.at(-1)).toBe(0);
      }),
    );
  });

  it('lie from the lowest bit on: 32 codes of three bits are three words', () => {
    const words = new Uint32Array(3);
    const codes = Uint8Array.from({ length: 32 }, (_, i) => i & 7);
    packCodes(codes, 3, words, 0);
    const text = codes.reduce((sum, code, i) => sum + BigInt(code) * 8n ** BigInt(i), 0n);
    expect([...words].map(BigInt)).toEqual([0n, 32n, 64n].map((shift) => (text >> shift) & 0xffffffffn));
  });
});

describe('levels of a Gaussian', () => {
  // Max, "Quantizing for minimum distortion", IRE Transactions on Information Theory 6 (1960), table I.
  it.each([
    [1, 0.3634, [0.798]],
    [2, 0.1175, [0.4528, 1.51]],
    [3, 0.03454, [0.2451, 0.756, 1.344, 2.152]],
    [4, 0.009497, [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733]],
  ])('%i bits are those of Max', (bits, distortion, positive) => {
    const quantiser = gaussianLevels(bits);
    expect(quantiser.distortion).toBeCloseTo(distortion, 4);
    positive.forEach((level, i) => {
      expect(Math.abs(quantiser.levels[positive.length + i]! - level)).toBeLessThan(1e-3);
      expect(quantiser.levels[positive.length - 1 - i]!).toBeCloseTo(-quantiser.levels[positive.length + i]!, 12);
    });
  });

  it('an extra bit takes off close to three quarters of the error, up to eight', () => {
    for (let bits = 4; bits < 8; bits++) {
      const ratio = gaussianLevels(bits + 1).distortion / gaussianLevels(bits).distortion;
      expect(ratio).toBeGreaterThan(0.25);
      expect(ratio).toBeLessThan(0.28);
    }
  });

  it('a number gets the code of the level that is nearest', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.double({ min: -6, max: 6, noNaN: true }), (bits, x) => {
        const quantiser = gaussianLevels(bits);
        const distances = Array.from(quantiser.levels, (level) => Math.abs(level - x));
        expect(distances[nearestLevel(quantiser, x)]!).toBeCloseTo(Math.min(...distances), 12);
      }),
    );
  });
});

it.each([
  [32, 32],
  [48, 16],
])('the Hadamard rotation of %i numbers is the matrix of signs of i & j, in parts of %i', (width, size) => {
  const values = Float64Array.from({ length: width }, (_, i) => Math.sin(i ** 2));
  const parity = (x: number): number => (x === 0 ? 0 : (x & 1) ^ parity(x >> 1));
  const expected = Array.from({ length: width }, (_, i) => {
    const start = i - (i % size);
    let sum = 0;
    for (let j = 0; j < size; j++) sum += (parity((i % size) & j) ? -1 : 1) * values[start + j]!;
    return sum / Math.sqrt(size);
  });
  expect(hadamardSize(width)).toBe(size);
  const rotated = Float64Array.from(values);
  hadamard(rotated, 0, width);
  expected.forEach((value, i) => {
    expect(rotated[i]).toBeCloseTo(value, 12);
  });
  hadamard(rotated, 0, width);
  values.forEach((value, i) => {
    expect(rotated[i]).toBeCloseTo(value, 12);
  });
});
