import {
  addTo,
  type ComplexMatrix,
  type ComplexVector,
  conjugate,
  createMatrix,
  hstack,
  identity,
  innerProduct,
  type Matrix,
  multiply,
  procrustes,
  quadraticForm,
  scale,
  selectTiles,
  transpose,
} from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { fitPhasors, meanEnergy, type PhasorFactors } from './phasors.ts';
import { normalizeEncoder } from './subspace.ts';

const rotationSettings = { smallestGain: 1e-8, maximumRounds: 50 };

/**
 * Rotates t heads until they agree best and takes their mean: A = s/t [Q_1^T ... Q_t^T], B_i = Q_i, Q_i orthogonal. One Q_i
 * after the other is the orthogonal Procrustes solution against the sum of the others (generalised Procrustes; Gower 1975),
 * starting from the alignment with the first head. s restores the norm that averaging loses.
 *
 * @param moment E[u u^T] of the heads side by side, [t*D, t*D].
 */
export function alignRotations(moment: Matrix, headDim: number): GroupFactors {
  const numHeads = moment.rows / headDim;
  const cross = (left: number, right: number) => selectTiles(moment.data, headDim, [left], [right]);
  const rotations = Array.from({ length: numHeads }, (_, head) =>
    head === 0 ? identity(headDim) : procrustes(identity(headDim), cross(head, 0)),
  );
  let agreement = Number.NEGATIVE_INFINITY;
  for (let round = 0; round < rotationSettings.maximumRounds && numHeads > 1; round++) {
    let next = 0;
    for (let head = 0; head < numHeads; head++) {
      const target = createMatrix(headDim, headDim);
      for (let other = 0; other < numHeads; other++) {
        if (other !== head) addTo(target, multiply(cross(head, other), rotations[other]!));
      }
      const rotation = procrustes(identity(headDim), target);
      rotations[head] = rotation;
      next += innerProduct(rotation, target);
    }
    if (!(next - agreement > rotationSettings.smallestGain * Math.abs(next))) break;
    agreement = next;
  }
  // The first head keeps its own axes, so that a group of one is left as it is.
  const toFirst = transpose(rotations[0]!);
  const decoders = rotations.map((rotation) => multiply(rotation, toFirst));
  const mean = hstack(...decoders.map((decoder) => scale(transpose(decoder), 1 / numHeads)));
  return { encoder: normalizeEncoder(mean, moment), decoders };
}

const phaseSettings = { smallestGain: 1e-10, maximumRounds: 100 };

/**
 * Rotates t complex numbers until they agree best and takes their mean: z = s * mean of conj(b_i) kappa_i with |b_i| = 1, where
 * the b_i have the largest mean energy E|z|^2 that phases alone can give (generalised Procrustes over the unit circle, one
 * head at a time). s restores the norm that averaging loses: E|z|^2 is the mean energy of the heads. The first b is 1.
 *
 * @param gamma Gamma = E[kappa kappa^H], [t, t].
 */
export function alignPhases(gamma: ComplexMatrix): PhasorFactors {
  const numHeads = gamma.rows;
  const phases = unitVector(fitPhasors(gamma, new Float64Array(numHeads).fill(1), 'complex', 1)[0]!.decoder);
  // b^H Gamma b: t^2 times the energy of the mean of the rotated numbers.
  let agreement = quadraticForm(phases, gamma);
  for (let round = 0; round < phaseSettings.maximumRounds; round++) {
    for (let head = 0; head < numHeads; head++) rotateTowardsOthers(gamma, phases, head);
    const next = quadraticForm(phases, gamma);
    if (!(next - agreement > phaseSettings.smallestGain * next)) break;
    agreement = next;
  }
  const decoder = relativeToFirst(phases);
  const energy = meanEnergy(gamma);
  const energyOfMean = quadraticForm(decoder, gamma) / numHeads ** 2;
  const factor = (energyOfMean > 0 ? Math.sqrt(energy / energyOfMean) : 1) / numHeads;
  const { real, imag } = conjugate(decoder);
  return {
    encoder: { real: real.map((value) => value * factor), imag: imag.map((value) => value * factor) },
    decoder,
  };
}

/** b_i takes the phase of sum over k of Gamma_ik b_k, the others held: the best rotation of head i. */
function rotateTowardsOthers({ rows, real, imag }: ComplexMatrix, phases: ComplexVector, head: number): void {
  let sumReal = 0;
  let sumImag = 0;
  for (let other = 0; other < rows; other++) {
    if (other === head) continue;
    const place = head * rows + other;
    sumReal += real[place]! * phases.real[other]! - imag[place]! * phases.imag[other]!;
    sumImag += real[place]! * phases.imag[other]! + imag[place]! * phases.real[other]!;
  }
  const size = Math.hypot(sumReal, sumImag);
  // A head that correlates with no other may keep any phase.
  if (!(size > 0)) return;
  phases.real[head] = sumReal / size;
  phases.imag[head] = sumImag / size;
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
