import type { AttentionWeights, DecoderShape } from '@kvlr/core';
import { createMatrix, type Matrix } from '@kvlr/linalg';

type AttentionOf = Pick<DecoderShape, 'attention'>;

/** Projected heads as they go on where the model clips them (OLMo 1, MPT). */
export function clipProjection(heads: readonly Matrix[], { attention: { clip } }: AttentionOf): Matrix[] {
  if (clip === undefined) return [...heads];
  return heads.map((head) => ({ ...head, data: head.data.map((value) => Math.max(-clip, Math.min(clip, value))) }));
}

/**
 * Queries or keys of all heads behind clipping and the norm of their side: of each head for itself, with one scale for all or a
 * scale of its own, or of all heads together.
 */
export function normHeads(
  projected: readonly Matrix[],
  weights: AttentionWeights,
  side: 'query' | 'key',
  shape: AttentionOf,
): Matrix[] {
  const { queryKeyNorm: norm } = shape.attention;
  const heads = clipProjection(projected, shape);
  if (norm === undefined) return heads;
  const { over, kind, epsilon, unitOffset } = norm;
  const [scale, bias] = [weights[`${side}Norm`], weights[`${side}NormBias`]];
  const normed = heads.map(({ rows, cols }) => createMatrix(rows, cols));
  const together = over === 'projection' ? [heads] : heads.map((head) => [head]);
  for (let row = 0; row < heads[0]!.rows; row++) {
    together.forEach((parts, first) => {
      const count = parts.length * parts[0]!.cols;
      const sumOf = (value: (entry: number) => number) =>
        parts.reduce((sum, { data, cols }) => {
          for (let index = row * cols; index < (row + 1) * cols; index++) sum += value(data[index]!);
          return sum;
        }, 0);
      const mean = kind === 'layer' ? sumOf((entry) => entry) / count : 0;
      const length = Math.sqrt(sumOf((entry) => (entry - mean) ** 2) / count + epsilon);
      parts.forEach(({ data, cols }, part) => {
        for (let column = 0; column < cols; column++) {
          const place = over === 'head' ? column : (first + part) * cols + column;
          const factor = scale === undefined ? 1 : scale[place]! + (unitOffset ? 1 : 0);
          const value = ((data[row * cols + column]! - mean) / length) * factor + (bias?.[place] ?? 0);
          normed[first + part]!.data[row * cols + column] = value;
        }
      });
    });
  }
  return normed;
}
