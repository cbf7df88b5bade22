import { KvlrError } from '@kvlr/core';
import { requireEvenHeads } from './rotate.ts';

/**
 * Order of a projection's output rows that turns half-split heads (Hugging Face) into interleaved ones (GGUF's llama, the
 * original LLaMA files, GPT-J), where a pair's rows lie side by side: row p of the interleaved matrix is row order[p] of the
 * half-split one. `heads` is the projection's own head count: query heads for q, KV heads for k.
 * Throws KvlrError 'invalid-argument'.
 */
export function interleavedRowOrder(heads: number, headDim: number): Uint32Array {
  requireEvenHeads(heads, headDim);
  const pairs = headDim / 2;
  return Uint32Array.from({ length: heads * headDim }, (_, place) => {
    const within = place % headDim;
    return place - within + (within % 2) * pairs + Math.floor(within / 2);
  });
}

/** The inverse of `interleavedRowOrder`: row p of the half-split matrix is row order[p] of the interleaved one. */
export function halfSplitRowOrder(heads: number, headDim: number): Uint32Array {
  requireEvenHeads(heads, headDim);
  const pairs = headDim / 2;
  return Uint32Array.from({ length: heads * headDim }, (_, place) => {
    const within = place % headDim;
    return place - within + 2 * (within % pairs) + Math.floor(within / pairs);
  });
}

/**
 * The rows of a row-major matrix in another order: row p of the result is row order[p]. A bias is a matrix with rows of one
 * number; stored bytes are permuted as rows of `rowLength` bytes, without decoding them.
 * `data` is [order.length, rowLength]; returns a new array of the same type. Throws KvlrError 'invalid-argument'.
 */
export function permuteRows<Data extends Float32Array | Float64Array | Uint8Array | Uint16Array>(
  data: Data,
  order: Uint32Array,
  rowLength: number,
): Data {
  if (!Number.isInteger(rowLength) || rowLength < 1 || data.length !== order.length * rowLength) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${order.length} rows of ${rowLength}, got ${data.length} entries`,
      data: { rows: order.length, rowLength, length: data.length },
    });
  }
  const result = data.slice() as Data;
  for (let place = 0; place < order.length; place += 1) {
    const row = order[place]!;
    if (row >= order.length) {
      throw new KvlrError('invalid-argument', {
        message: `expected rows from 0 to ${order.length - 1} in the order, got ${row} at place ${place}`,
        data: { place, row },
      });
    }
    const source = row * rowLength;
    result.set(data.subarray(source, source + rowLength), place * rowLength);
  }
  return result;
}
