import { multiplyPanels, panelWidth } from './panels.ts';
import { createSimdKernel } from './simd-kernel.ts';

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
