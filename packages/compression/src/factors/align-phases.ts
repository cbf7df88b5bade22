import type { ComplexMatrix } from '@kvlr/linalg';
import { type ComplexVector, fitPhasor, type Phasor } from './fit-phasor.ts';

const smallestGain = 1e-10;
const maximumRounds = 100;

/**
 * Turns t complex numbers until they agree best and takes their mean: z = s * mean of conj(b_i) kappa_i with |b_i| = 1, where
 * the b_i have the largest mean energy E|z|^2 that turns alone can give (generalised Procrustes over the unit circle, one
 * head at a time). s restores the norm that averaging loses: E|z|^2 is the mean energy of the heads. The first b is 1.
 *
 * @param gamma Gamma = E[kappa kappa^H], [t, t].
 */
export function alignPhases(gamma: ComplexMatrix): Phasor {
  const heads = gamma.rows;
  const turns = unitVector(fitPhasor(gamma, new Float64Array(heads).fill(1), 'complex').decoder);
  let agreement = sumOver(gamma, turns);
  for (let round = 0; round < maximumRounds; round++) {
    for (let head = 0; head < heads; head++) turnTowardsOthers(gamma, turns, head);
    const next = sumOver(gamma, turns);
    if (!(next - agreement > smallestGain * next)) break;
    agreement = next;
  }
  const decoder = relativeToFirst(turns);
  let energy = 0;
  for (let head = 0; head < heads; head++) energy += gamma.real[head * (heads + 1)]! / heads;
  const meanEnergy = sumOver(gamma, decoder) / heads ** 2;
  const scale = (meanEnergy > 0 ? Math.sqrt(energy / meanEnergy) : 1) / heads;
  return {
    encoder: {
      real: decoder.real.map((value) => value * scale),
      imag: decoder.imag.map((value) => -value * scale),
    },
    decoder,
  };
}

/** b^H Gamma b: heads^2 times the energy of the mean of the turned numbers. */
function sumOver({ rows, real, imag }: ComplexMatrix, turns: ComplexVector): number {
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < rows; column++) {
      const productReal = turns.real[row]! * turns.real[column]! + turns.imag[row]! * turns.imag[column]!;
      const productImag = turns.real[row]! * turns.imag[column]! - turns.imag[row]! * turns.real[column]!;
      sum += productReal * real[row * rows + column]! - productImag * imag[row * rows + column]!;
    }
  }
  return sum;
}

/** b_i takes the phase of sum over k of Gamma_ik b_k, the others held: the best turn of head i. */
function turnTowardsOthers({ rows, real, imag }: ComplexMatrix, turns: ComplexVector, head: number): void {
  let sumReal = 0;
  let sumImag = 0;
  for (let other = 0; other < rows; other++) {
    if (other === head) continue;
    const place = head * rows + other;
    sumReal += real[place]! * turns.real[other]! - imag[place]! * turns.imag[other]!;
    sumImag += real[place]! * turns.imag[other]! + imag[place]! * turns.real[other]!;
  }
  const size = Math.hypot(sumReal, sumImag);
  // A head that correlates with no other may keep any phase.
  if (!(size > 0)) return;
  turns.real[head] = sumReal / size;
  turns.imag[head] = sumImag / size;
}

function unitVector({ real, imag }: ComplexVector): ComplexVector {
  const sizes = real.map((value, index) => Math.hypot(value, imag[index]!));
  return {
    real: real.map((value, index) => (sizes[index]! > 0 ? value / sizes[index]! : 1)),
    imag: imag.map((value, index) => (sizes[index]! > 0 ? value / sizes[index]! : 0)),
  };
}

function relativeToFirst({ real, imag }: ComplexVector): ComplexVector {
  const [firstReal, firstImag] = [real[0]!, imag[0]!];
  return {
    real: real.map((value, index) => value * firstReal + imag[index]! * firstImag),
    imag: imag.map((value, index) => value * firstReal - real[index]! * firstImag),
  };
}
