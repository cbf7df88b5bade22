import { createSimdKernel } from './simd-kernel.ts';

/**
 * The one inner loop behind matrix products and second moments. Vectors are packed four at a time into panels, the
 * entries of a panel's four vectors interleaved: panel[4 * k + c] is entry k of vector c. A product of two panels is a
 * 4x4 block of dot products that lives in registers, which is what makes it fast in plain JavaScript.
 * The depth is cut into chunks so that a panel fits the first-level cache.
 */
export const panelWidth = 4;

/** Entries of a vector per panel: 4 * 256 * 8 bytes = 8 KiB a panel. */
export const panelDepth = 256;

/** Numbers needed to pack `vectors` vectors of at most `panelDepth` entries. */
export function panelStorage(vectors: number, depth: number): number {
  return Math.ceil(vectors / panelWidth) * panelWidth * Math.min(depth, panelDepth);
}

/**
 * Packs entries [depthStart, depthStart + depth) of `vectors` vectors; missing vectors of the last panel become zeros.
 * Entry k of vector v is source[v * vectorStride + k * entryStride].
 */
export function packPanels(
  source: Float64Array | Float32Array,
  vectors: number,
  vectorStride: number,
  entryStride: number,
  depthStart: number,
  depth: number,
  panels: Float64Array,
): void {
  const panelCount = Math.ceil(vectors / panelWidth);
  const first = depthStart * entryStride;
  if (entryStride === 1) {
    for (let vector = 0; vector < panelCount * panelWidth; vector += 1) {
      let target = (vector >> 2) * depth * panelWidth + (vector & 3);
      const offset = first + vector * vectorStride;
      for (let k = 0; k < depth; k += 1, target += panelWidth) {
        panels[target] = vector < vectors ? source[offset + k]! : 0;
      }
    }
    return;
  }
  for (let k = 0; k < depth; k += 1) {
    const offset = first + k * entryStride;
    for (let vector = 0; vector < panelCount * panelWidth; vector += 1) {
      panels[((vector >> 2) * depth + k) * panelWidth + (vector & 3)] =
        vector < vectors ? source[offset + vector * vectorStride]! : 0;
    }
  }
}

/** block[4 * r + c] = dot product over `depth` entries of vector r of the left panel and vector c of the right one. */
export function multiplyPanels(
  left: Float64Array,
  leftOffset: number,
  right: Float64Array,
  rightOffset: number,
  depth: number,
  block: Float64Array,
): void {
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s13 = 0;
  let s20 = 0;
  let s21 = 0;
  let s22 = 0;
  let s23 = 0;
  let s30 = 0;
  let s31 = 0;
  let s32 = 0;
  let s33 = 0;
  const end = leftOffset + depth * panelWidth;
  for (let l = leftOffset, r = rightOffset; l < end; l += panelWidth, r += panelWidth) {
    const r0 = right[r]!;
    const r1 = right[r + 1]!;
    const r2 = right[r + 2]!;
    const r3 = right[r + 3]!;
    const l0 = left[l]!;
    s00 += l0 * r0;
    s01 += l0 * r1;
    s02 += l0 * r2;
    s03 += l0 * r3;
    const l1 = left[l + 1]!;
    s10 += l1 * r0;
    s11 += l1 * r1;
    s12 += l1 * r2;
    s13 += l1 * r3;
    const l2 = left[l + 2]!;
    s20 += l2 * r0;
    s21 += l2 * r1;
    s22 += l2 * r2;
    s23 += l2 * r3;
    const l3 = left[l + 3]!;
    s30 += l3 * r0;
    s31 += l3 * r1;
    s32 += l3 * r2;
    s33 += l3 * r3;
  }
  block[0] = s00;
  block[1] = s01;
  block[2] = s02;
  block[3] = s03;
  block[4] = s10;
  block[5] = s11;
  block[6] = s12;
  block[7] = s13;
  block[8] = s20;
  block[9] = s21;
  block[10] = s22;
  block[11] = s23;
  block[12] = s30;
  block[13] = s31;
  block[14] = s32;
  block[15] = s33;
}

/**
 * Adds the part of a 4x4 block that lies inside a rows x cols result. Entry (i, j) of the result is
 * result[i * stride + j].
 */
export function addBlock(
  block: Float64Array,
  result: Float64Array,
  stride: number,
  rows: number,
  cols: number,
  row: number,
  col: number,
): void {
  const rowCount = Math.min(panelWidth, rows - row);
  const colCount = Math.min(panelWidth, cols - col);
  for (let r = 0; r < rowCount; r += 1) {
    const offset = (row + r) * stride + col;
    for (let c = 0; c < colCount; c += 1) result[offset + c]! += block[r * panelWidth + c]!;
  }
}

const bytesPerNumber = 8;
const bytesPerPage = 65536;
const blockSize = panelWidth * panelWidth;

/**
 * The memory in which products of panels are computed: first the 4x4 block that comes out, behind it the panels. It is
 * WebAssembly's where that is to be had, else an array. There is one, because no product is begun inside another.
 */
const kernel = createSimdKernel();
let numbers = kernel === undefined ? new Float64Array(blockSize) : new Float64Array(kernel.memory.buffer);

/** Where the panels begin. */
export const firstPanel = blockSize;

/** The memory, with room for `count` numbers of panels. Invalid after the next call. */
export function reservePanels(count: number): Float64Array {
  const wanted = firstPanel + count;
  if (kernel === undefined) {
    if (numbers.length < wanted) numbers = new Float64Array(wanted);
  } else {
    const missing = wanted * bytesPerNumber - kernel.memory.buffer.byteLength;
    if (missing > 0) kernel.memory.grow(Math.ceil(missing / bytesPerPage));
    if (numbers.buffer !== kernel.memory.buffer) numbers = new Float64Array(kernel.memory.buffer);
  }
  return numbers;
}

/** Puts the 4x4 block of dot products of the panels at these places, `depth` > 0 entries deep, to the memory's beginning. */
export function multiplyReserved(left: number, right: number, depth: number): void {
  if (kernel === undefined) multiplyPanels(numbers, left, numbers, right, depth, numbers);
  else kernel.multiply(left * bytesPerNumber, right * bytesPerNumber, (left + depth * panelWidth) * bytesPerNumber);
}
