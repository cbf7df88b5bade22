import { createMatrix } from './create-matrix.ts';
import type { Matrix } from './matrix.ts';
import { addBlock, multiplyPanels, packPanels, panelDepth, panelStorage, panelWidth } from './panels.ts';

/** Where the vectors of one side of a product lie: entry k of vector v is data[v * vectorStride + k * entryStride]. */
export interface StridedVectors {
  data: Float64Array;
  count: number;
  vectorStride: number;
  entryStride: number;
}

/** All dot products of the left vectors with the right ones, [left.count, right.count]. */
export function multiplyStrided(left: StridedVectors, right: StridedVectors, depth: number): Matrix {
  const result = createMatrix(left.count, right.count);
  const leftPanels = new Float64Array(panelStorage(left.count, depth));
  const rightPanels = new Float64Array(panelStorage(right.count, depth));
  const block = new Float64Array(panelWidth * panelWidth);
  for (let depthStart = 0; depthStart < depth; depthStart += panelDepth) {
    const chunk = Math.min(panelDepth, depth - depthStart);
    packPanels(left.data, left.count, left.vectorStride, left.entryStride, depthStart, chunk, leftPanels);
    packPanels(right.data, right.count, right.vectorStride, right.entryStride, depthStart, chunk, rightPanels);
    for (let row = 0; row < left.count; row += panelWidth) {
      for (let col = 0; col < right.count; col += panelWidth) {
        multiplyPanels(leftPanels, row * chunk, rightPanels, col * chunk, chunk, block);
        addBlock(block, result.data, left.count, right.count, row, col);
      }
    }
  }
  return result;
}
