import { KvlrError } from '@kvlr/core';

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
      message: `permuteRows: expected ${order.length} rows of ${rowLength}, got ${data.length} entries`,
      data: { rows: order.length, rowLength, length: data.length },
    });
  }
  const result = data.slice() as Data;
  for (let place = 0; place < order.length; place += 1) {
    const row = order[place]!;
    if (row >= order.length) {
      throw new KvlrError('invalid-argument', {
        message: `permuteRows: expected rows from 0 to ${order.length - 1} in the order, got ${row} at place ${place}`,
        data: { place, row },
      });
    }
    const source = row * rowLength;
    result.set(data.subarray(source, source + rowLength), place * rowLength);
  }
  return result;
}
