import { type Tensor1D, type Tensor2D, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { MaskedWindow } from './pieces.ts';

/** What a pass reads of its pieces, one under another. */
export interface PieceRows {
  /** int32 [rows] */
  tokenIds: Tensor1D;
  /** int32 [rows]; 0 where there is none in the piece. */
  nextIds: Tensor1D;
  /** 1 for rows that count, [rows, 1]; and for those of them whose next token is known. */
  counted: Tensor2D;
  predicted: Tensor2D;
}

/** The same on the host. */
export function rowValues(pieces: readonly MaskedWindow[]) {
  const rows = pieces.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  const [tokenIds, nextIds] = [new Int32Array(rows), new Int32Array(rows)];
  const [counted, predicted] = [new Float32Array(rows), new Float32Array(rows)];
  let start = 0;
  for (const piece of pieces) {
    const { length } = piece.tokenIds;
    tokenIds.set(piece.tokenIds, start);
    nextIds.set(piece.tokenIds.subarray(1), start);
    counted.set(piece.counted, start);
    predicted.set(piece.counted.subarray(0, length - 1), start);
    start += length;
  }
  return { tokenIds, nextIds, counted, predicted } satisfies Record<keyof PieceRows, Int32Array | Float32Array>;
}

/** Call inside tf.tidy. */
export function uploadRows(pieces: readonly MaskedWindow[]): PieceRows {
  const { tokenIds, nextIds, counted, predicted } = rowValues(pieces);
  return {
    tokenIds: tensor1d(tokenIds, 'int32'),
    nextIds: tensor1d(nextIds, 'int32'),
    counted: tensor2d(counted, [counted.length, 1]),
    predicted: tensor2d(predicted, [predicted.length, 1]),
  };
}
