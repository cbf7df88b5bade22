import { type ComplexMatrix, createComplexMatrix, createMatrix, type Matrix } from '@kvlr/linalg';

/**
 * Means of the phases that RoPE puts between two frequencies, over the relative position n - m of a key n and a later
 * query m: `difference` holds E exp(i (theta_a - theta_b) (n - m)), `sum` E exp(i (theta_a + theta_b) (n - m)), [D/2, D/2].
 */
export interface RotationAverages {
  difference: ComplexMatrix;
  sum: ComplexMatrix;
}

/** Chosen on held-out calibration text of the reference model among 0, 0.5, 1, 1.5 and 2; 1.5 and 2 are within noise. */
const fallOff = 1.5;

/**
 * Averages over the distances m - n of a text of `tokens` tokens. A distance counts by how often it occurs under the
 * causal mask, tokens - distance, and by how attention falls off, (distance + 1)^-1.5.
 *
 * @param frequencies theta, radians per position, [D/2].
 */
export function rotationAverages(frequencies: Float64Array, tokens: number): RotationAverages {
  const half = frequencies.length;
  const difference = createComplexMatrix(half, half);
  const sum = createComplexMatrix(half, half);
  for (let a = 0; a < half; a++) {
    for (let b = 0; b < half; b++) {
      const place = a * half + b;
      [difference.real[place], difference.imag[place]] = meanPhase(frequencies[a]! - frequencies[b]!, tokens);
      [sum.real[place], sum.imag[place]] = meanPhase(frequencies[a]! + frequencies[b]!, tokens);
    }
  }
  return { difference, sum };
}

/** E exp(-i angle distance). The phase is advanced by multiplication, which errs by some 1e-16 a step. */
function meanPhase(angle: number, tokens: number): [real: number, imag: number] {
  const stepReal = Math.cos(angle);
  const stepImag = -Math.sin(angle);
  let real = 1;
  let imag = 0;
  let sumReal = 0;
  let sumImag = 0;
  let total = 0;
  for (let distance = 0; distance < tokens; distance++) {
    const weight = (tokens - distance) / (distance + 1) ** fallOff;
    total += weight;
    sumReal += weight * real;
    sumImag += weight * imag;
    const next = real * stepReal - imag * stepImag;
    imag = real * stepImag + imag * stepReal;
    real = next;
  }
  return [sumReal / total, sumImag / total];
}

/**
 * Mean over relative positions of R X R^T ('forward') or R^T X R ('backward'), R the rotations of RoPE, X [D, D]. Rows or
 * columns may be those of a wide head, [m D]: its pairs p, p + m D/2 have the frequencies of the averages m times over.
 *
 * Between two frequencies X is a 2 x 2 block, the sum of a complex multiplication, which R X R^T rotates by the difference
 * of the angles, and a complex conjugation followed by one, which it rotates by their sum.
 */
export function averageRotated(
  matrix: Matrix,
  { difference, sum }: RotationAverages,
  direction: 'forward' | 'backward',
): Matrix {
  const { data, rows, cols } = matrix;
  const frequencies = difference.rows;
  const lowerHalf = (rows / 2) * cols;
  const rightHalf = cols / 2;
  const sign = direction === 'forward' ? 1 : -1;
  const result = createMatrix(rows, cols);
  for (let a = 0; a < rows / 2; a++) {
    for (let b = 0; b < rightHalf; b++) {
      const upper = a * cols + b;
      const lower = upper + lowerHalf;
      const linearReal = (data[upper]! + data[lower + rightHalf]!) / 2;
      const linearImag = (data[lower]! - data[upper + rightHalf]!) / 2;
      const conjugateReal = (data[upper]! - data[lower + rightHalf]!) / 2;
      const conjugateImag = (data[lower]! + data[upper + rightHalf]!) / 2;
      const place = (a % frequencies) * frequencies + (b % frequencies);
      const byDifferenceReal = difference.real[place]!;
      const byDifferenceImag = sign * difference.imag[place]!;
      const bySumReal = sum.real[place]!;
      const bySumImag = sign * sum.imag[place]!;
      const rotatedReal = linearReal * byDifferenceReal - linearImag * byDifferenceImag;
      const rotatedImag = linearReal * byDifferenceImag + linearImag * byDifferenceReal;
      const mirroredReal = conjugateReal * bySumReal - conjugateImag * bySumImag;
      const mirroredImag = conjugateReal * bySumImag + conjugateImag * bySumReal;
      result.data[upper] = rotatedReal + mirroredReal;
      result.data[lower + rightHalf] = rotatedReal - mirroredReal;
      result.data[lower] = rotatedImag + mirroredImag;
      result.data[upper + rightHalf] = mirroredImag - rotatedImag;
    }
  }
  return result;
}
