import { createNormalRandom } from '@kvlr/core';
import { createComplexMatrix, createMatrix, multiply, multiplyTransposed, qr, transpose } from '@kvlr/linalg';
import { expectClose } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { alignPhases, alignRotations } from './align.ts';

const headDim = 4;
const normal = createNormalRandom(3);
const random = (rows: number, cols: number) =>
  createMatrix(
    rows,
    cols,
    Float64Array.from({ length: rows * cols }, () => normal()),
  );

/** E[kappa kappa^H] of one random key and t copies of it that are rotated and stretched. */
function rotatedCopies(phases: readonly number[], sizes: readonly number[]) {
  const heads = phases.length;
  const gamma = createComplexMatrix(heads, heads);
  for (let i = 0; i < heads; i++) {
    for (let k = 0; k < heads; k++) {
      const size = sizes[i]! * sizes[k]!;
      gamma.real[i * heads + k] = size * Math.cos(phases[i]! - phases[k]!);
      gamma.imag[i * heads + k] = size * Math.sin(phases[i]! - phases[k]!);
    }
  }
  return gamma;
}

describe('alignPhases', () => {
  it('finds phases that were planted, with unit modulus whatever the sizes, and restores the norm', () => {
    const phases = [0.3, -2, 1.1];
    const sizes = [1, 3, 0.5];
    const { encoder, decoder } = alignPhases(rotatedCopies(phases, sizes));
    phases.forEach((phase, head) => {
      expect(decoder.real[head]).toBeCloseTo(Math.cos(phase - phases[0]!), 10);
      expect(decoder.imag[head]).toBeCloseTo(Math.sin(phase - phases[0]!), 10);
    });
    const meanEnergy = sizes.reduce((sum, size) => sum + size * size, 0) / 3;
    const encoded = sizes.reduce(
      (sum, size, head) => sum + size * Math.hypot(encoder.real[head]!, encoder.imag[head]!),
      0,
    );
    expect(encoded ** 2).toBeCloseTo(meanEnergy, 10);
  });

  it('stays finite without energy', () => {
    const { encoder, decoder } = alignPhases(createComplexMatrix(2, 2));
    expect([...encoder.real, ...encoder.imag, ...decoder.real, ...decoder.imag].every(Number.isFinite)).toBe(true);
  });
});

describe('alignRotations', () => {
  it('finds rotations that were planted', () => {
    const [second, third] = [qr(random(headDim, headDim)).q, qr(random(headDim, headDim)).q];
    const head = random(headDim, 20);
    const rows = [head, multiply(second, head), multiply(third, head)].flatMap(({ data }) => [...data]);
    const heads = createMatrix(3 * headDim, 20, Float64Array.from(rows));
    const { encoder, decoders } = alignRotations(multiplyTransposed(heads, heads), headDim);
    expectClose(decoders[1]!.data, second.data, 1e-9);
    expectClose(decoders[2]!.data, third.data, 1e-9);
    expectClose(multiply(encoder, heads).data, head.data, 1e-9);
  });

  it('gives orthogonal decoders and the mean energy of the heads', () => {
    const heads = random(3 * headDim, 30);
    const moment = multiplyTransposed(heads, heads);
    const { encoder, decoders } = alignRotations(moment, headDim);
    for (const decoder of decoders) {
      const gram = multiply(transpose(decoder), decoder);
      gram.data.forEach((value, index) => {
        expect(value).toBeCloseTo(index % (headDim + 1) === 0 ? 1 : 0, 10);
      });
    }
    const energy = (data: Float64Array) => data.reduce((sum, value) => sum + value * value, 0);
    expect(energy(multiply(encoder, heads).data)).toBeCloseTo(energy(heads.data) / 3, 8);
  });
});
