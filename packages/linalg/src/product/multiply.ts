import { requireEqualSizes } from '../input.ts';
import { createMatrix, type Matrix } from '../matrix.ts';
import {
  addBlock,
  firstPanel,
  multiplyReserved,
  packPanels,
  panelDepth,
  panelStorage,
  panelWidth,
  reservePanels,
} from './panels.ts';

/** The product a b, [a.rows, b.cols]. Throws KvlrError 'invalid-argument' unless a.cols = b.rows. */
export function multiply(a: Matrix, b: Matrix): Matrix {
  requireEqualSizes('as many columns on the left as rows on the right', a.cols, a, b, b.rows);
  return multiplyStrided(
    { data: a.data, count: a.rows, vectorStride: a.cols, entryStride: 1 },
    { data: b.data, count: b.cols, vectorStride: 1, entryStride: b.cols },
    a.cols,
  );
}

/** The product a b^T, [a.rows, b.rows]. Throws KvlrError 'invalid-argument' unless both have as many columns. */
export function multiplyTransposed(a: Matrix, b: Matrix): Matrix {
  requireEqualSizes('as many columns on both sides', a.cols, a, b, b.cols);
  return multiplyStrided(
    { data: a.data, count: a.rows, vectorStride: a.cols, entryStride: 1 },
    { data: b.data, count: b.rows, vectorStride: b.cols, entryStride: 1 },
    a.cols,
  );
}

/** All dot products of the left vectors with the right ones, [left.count, right.count]. */
function multiplyStrided(left: StridedVectors, right: StridedVectors, depth: number): Matrix {
  const result = createMatrix(left.count, right.count);
  addProduct(left, right, depth, result.data, right.count);
  return result;
}

/** Where the vectors of one side of a product lie: entry k of vector v is data[v * vectorStride + k * entryStride]. */
export interface StridedVectors {
  data: Float64Array;
  count: number;
  vectorStride: number;
  entryStride: number;
}

/**
 * Adds all dot products of the left vectors with the right ones to a block of a larger matrix: that of left vector i with
 * right vector j goes to result[i * resultStride + j]. The vectors are `depth` numbers long.
 */
export function addProduct(
  left: StridedVectors,
  right: StridedVectors,
  depth: number,
  result: Float64Array,
  resultStride: number,
): void {
  const secondPanel = firstPanel + panelStorage(left.count, depth);
  const memory = reservePanels(secondPanel - firstPanel + panelStorage(right.count, depth));
  const leftPanels = memory.subarray(firstPanel);
  const rightPanels = memory.subarray(secondPanel);
  for (let depthStart = 0; depthStart < depth; depthStart += panelDepth) {
    const chunk = Math.min(panelDepth, depth - depthStart);
    packPanels(left.data, left.count, left.vectorStride, left.entryStride, depthStart, chunk, leftPanels);
    packPanels(right.data, right.count, right.vectorStride, right.entryStride, depthStart, chunk, rightPanels);
    for (let row = 0; row < left.count; row += panelWidth) {
      for (let col = 0; col < right.count; col += panelWidth) {
        multiplyReserved(firstPanel + row * chunk, secondPanel + col * chunk, chunk);
        addBlock(memory, result, resultStride, left.count, right.count, row, col);
      }
    }
  }
}

/** Dot product of two stretches of one array, with four running sums so that additions need not wait for each other. */
export function dot(data: Float64Array, left: number, right: number, length: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let k = 0;
  for (; k + 4 <= length; k += 4) {
    sum0 += data[left + k]! * data[right + k]!;
    sum1 += data[left + k + 1]! * data[right + k + 1]!;
    sum2 += data[left + k + 2]! * data[right + k + 2]!;
    sum3 += data[left + k + 3]! * data[right + k + 3]!;
  }
  for (; k < length; k += 1) sum0 += data[left + k]! * data[right + k]!;
  return sum0 + sum1 + (sum2 + sum3);
}
