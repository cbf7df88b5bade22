import {
  blockDiagonal,
  createMatrix,
  eigSymmetric,
  hstack,
  identity,
  innerProduct,
  type Matrix,
  multiply,
  multiplyTransposed,
  scale,
  splitRows,
  trace,
  transpose,
} from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/** A = [I ... I] / t, B_i = I: the mean of the heads stands for each (Ainslie et al. 2023, arXiv 2305.13245). */
export function meanPoolFactors(numHeads: number, headDim: number): GroupFactors {
  const decoders = Array.from({ length: numHeads }, () => identity(headDim));
  return { encoder: hstack(...decoders.map((decoder) => scale(decoder, 1 / numHeads))), decoders };
}

/**
 * The factors of rank r that lose least: A and B minimise E|u - B A u|^2 in the metric M. With U the top r eigenvectors
 * of M^(1/2) C M^(1/2): A = U^T M^(1/2), B = M^(-1/2) U. Eckart and Young; for M = I the paper's SVD
 * (arXiv 2406.07056, section 3).
 *
 * @param moment C = E[u u^T] of the heads side by side, [t*D, t*D].
 * @param rank r, at most t*D.
 * @param metric M as one [D, D] block per head; the identity when left out.
 */
export function subspaceFactors(
  moment: Matrix,
  headDim: number,
  rank: number,
  metric?: readonly Matrix[],
): GroupFactors {
  const roots = metric === undefined ? undefined : metricRoots(metric);
  const weighed = roots === undefined ? moment : multiply(multiply(roots.root, moment), roots.root);
  const directions = leadingDirections(weighed, rank);
  const encoder = transpose(directions);
  return {
    encoder: roots === undefined ? encoder : multiply(encoder, roots.root),
    decoders: splitRows(roots === undefined ? directions : multiply(roots.inverseRoot, directions), headDim),
  };
}

/** Top eigenvectors as columns, each with its largest entry positive, so that files are reproducible. */
function leadingDirections(symmetric: Matrix, rank: number): Matrix {
  const { vectors } = eigSymmetric(symmetric);
  const directions = createMatrix(vectors.rows, rank);
  for (let column = 0; column < rank; column++) {
    let largest = 0;
    for (let row = 0; row < vectors.rows; row++) {
      const value = vectors.data[row * vectors.cols + column]!;
      if (Math.abs(value) > Math.abs(largest)) largest = value;
    }
    const sign = largest < 0 ? -1 : 1;
    for (let row = 0; row < vectors.rows; row++) {
      directions.data[row * rank + column] = sign * vectors.data[row * vectors.cols + column]!;
    }
  }
  return directions;
}

/** Eigenvalues of a metric below this share of the largest are raised to it. */
const relativeFloor = 1e-8;

/**
 * M^(1/2) and M^(-1/2) of a block-diagonal metric, [t*D, t*D] each, decomposed block by block; the floor is relative to
 * the whole metric.
 */
export function metricRoots(blocks: readonly Matrix[]): { root: Matrix; inverseRoot: Matrix } {
  const decompositions = blocks.map(eigSymmetric);
  const largest = decompositions.reduce((highest, { values }) => Math.max(highest, values[0]!), 0);
  // A metric of zeros says that no error matters; any factors will do, so it is read as the identity.
  const floor = largest > 0 ? largest * relativeFloor : 1;
  const power = (exponent: number) =>
    blockDiagonal(
      decompositions.map(({ values, vectors }) => {
        const scaled = vectors.data.map(
          (value, index) => value * Math.max(values[index % vectors.cols]!, floor) ** exponent,
        );
        return multiplyTransposed({ ...vectors, data: scaled }, vectors);
      }),
    );
  return { root: power(0.5), inverseRoot: power(-0.5) };
}

/**
 * The same factors in another gauge: encoder times s, decoders divided by s, so that the shared head's mean energy per
 * component is that of the heads it stands for. Keeps the new weights in the range of the old ones, which F16, int8 and
 * gradient steps like; what the factors compute does not change.
 */
export function normalizeEnergy({ encoder, decoders }: GroupFactors, moment: Matrix): GroupFactors {
  const factor = energyScale(encoder, moment);
  return {
    encoder: scale(encoder, factor),
    decoders: decoders.map((decoder) => ({ ...decoder, data: decoder.data.map((value) => value / factor) })),
  };
}

/** The encoder alone times s: what it gives has the energy of what it was given, and the decoders stay what they are. */
export function normalizeEncoder(encoder: Matrix, moment: Matrix): Matrix {
  return scale(encoder, energyScale(encoder, moment));
}

/** s, or 1 where there is no energy. */
function energyScale(encoder: Matrix, moment: Matrix): number {
  const encodedEnergy = innerProduct(encoder, multiply(encoder, moment)) / encoder.rows;
  const energy = trace(moment) / moment.rows;
  return encodedEnergy > 0 && energy > 0 ? Math.sqrt(energy / encodedEnergy) : 1;
}
