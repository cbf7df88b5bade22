import { createMatrix, identity, type Matrix, multiply, procrustes, selectBlock, transpose } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { normalizeEncoder } from './normalize-energy.ts';

const smallestGain = 1e-8;
const maximumRounds = 50;

/**
 * Turns t heads until they agree best and takes their mean: A = s/t [Q_1^T ... Q_t^T], B_i = Q_i, Q_i orthogonal. Each Q_i in
 * turn is the orthogonal Procrustes solution against the sum of the others (generalised Procrustes; Gower 1975), starting
 * from the alignment with the first head. s restores the norm that averaging loses.
 *
 * @param moment E[u u^T] of the heads side by side, [t*D, t*D].
 */
export function alignRotations(moment: Matrix, headDim: number): GroupFactors {
  const heads = moment.rows / headDim;
  const places = (head: number) => Array.from({ length: headDim }, (_, row) => head * headDim + row);
  const cross = (left: number, right: number) => selectBlock(moment, places(left), places(right));
  const rotations = Array.from({ length: heads }, (_, head) =>
    head === 0 ? identity(headDim) : procrustes(identity(headDim), cross(head, 0)),
  );
  let agreement = Number.NEGATIVE_INFINITY;
  for (let round = 0; round < maximumRounds && heads > 1; round++) {
    let next = 0;
    for (let head = 0; head < heads; head++) {
      const target = createMatrix(headDim, headDim);
      for (let other = 0; other < heads; other++) {
        if (other === head) continue;
        multiply(cross(head, other), rotations[other]!).data.forEach((value, index) => {
          target.data[index]! += value;
        });
      }
      const rotation = procrustes(identity(headDim), target);
      rotations[head] = rotation;
      next += rotation.data.reduce((sum, value, index) => sum + value * target.data[index]!, 0);
    }
    if (!(next - agreement > smallestGain * Math.abs(next))) break;
    agreement = next;
  }
  // The first head keeps its own axes, so that a group of one is left as it is.
  const toFirst = transpose(rotations[0]!);
  const decoders = rotations.map((rotation) => multiply(rotation, toFirst));
  const encoder = createMatrix(headDim, heads * headDim);
  decoders.forEach((decoder, head) => {
    for (let row = 0; row < headDim; row++) {
      for (let column = 0; column < headDim; column++) {
        encoder.data[row * encoder.cols + head * headDim + column] = decoder.data[column * headDim + row]! / heads;
      }
    }
  });
  return { encoder: normalizeEncoder(encoder, moment), decoders };
}
