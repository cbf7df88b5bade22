import { firstPanel, multiplyReserved, reservePanels } from './panel-memory.ts';
import { addBlock, packPanels, panelDepth, panelStorage, panelWidth } from './panels.ts';

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
