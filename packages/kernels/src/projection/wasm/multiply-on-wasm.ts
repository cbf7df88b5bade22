import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { allocateOnHost, heapAddress } from '../../host/host-heap.ts';
import { rowLayout } from '../../weights/weight-format.ts';
import { multiplyOnCpu } from '../host/multiply-on-cpu.ts';
import type { ProductTask } from '../host/product-task.ts';
import { type ProductKernels, productKernels, rowsOfBlock } from './product-kernels.ts';
import { unpackCode } from './unpack-code.ts';

/** Rows unpacked at a time for several tokens: few enough to stay in a cache of the second level. */
const rowsOfTile = 64;

/**
 * Multiplies on the wasm heap with vectors. For one token the weights are unpacked inside the product, and the memory read is
 * what they take packed. For several, tiles of rows are unpacked to float32 once and meet the tokens two at a time.
 */
export function multiplyOnWasm(backend: BackendWasm, task: ProductTask): void {
  const kernels = productKernels(backend);
  if (kernels === undefined) multiplyOnCpu(backend, task);
  else if (task.tokens === 1) multiplyOne(backend, kernels, task);
  else multiplyTiles(backend, kernels, task);
}

function multiplyOne(backend: BackendWasm, kernels: ProductKernels, task: ProductTask): void {
  const { format, columns, shardRows } = task;
  const layout = rowLayout(format, columns);
  const rowBytes = layout.words * 4;
  const scaleBytes = layout.scaleWords * 4;
  const steps = layout.paddedColumns / unpackCode[format].columns;
  const words = heapAddress(backend, task.words);
  const scales = task.scales ? heapAddress(backend, task.scales) : 0;
  const x = heapAddress(backend, task.staged);
  const result = heapAddress(backend, task.product) + task.firstRow * 4;
  const blocks = Math.floor(shardRows / rowsOfBlock);
  if (blocks > 0) kernels[`oneBlock_${format}`](words, scales, x, result, blocks, steps, rowBytes, scaleBytes, 0, 0);
  const done = blocks * rowsOfBlock;
  if (done === shardRows) return;
  const rest = [words + done * rowBytes, scales + done * scaleBytes, x, result + done * 4, shardRows - done];
  kernels[`oneRow_${format}`](...rest, steps, rowBytes, scaleBytes, 0, 0);
}

function multiplyTiles(backend: BackendWasm, kernels: ProductKernels, task: ProductTask): void {
  const { format, columns, tokens, shardRows, rows, firstRow } = task;
  const layout = rowLayout(format, columns);
  const tile = format === 'f32' ? undefined : allocateOnHost(backend, [rowsOfTile, layout.paddedColumns], 'float32');
  const words = heapAddress(backend, task.words);
  const scales = task.scales ? heapAddress(backend, task.scales) : 0;
  const x = heapAddress(backend, task.staged);
  const result = heapAddress(backend, task.product) + firstRow * 4;
  const tokenBytes = layout.paddedColumns * 4;
  const steps = layout.paddedColumns / unpackCode.f32.columns;
  for (let first = 0; first < shardRows; first += rowsOfTile) {
    const count = Math.min(rowsOfTile, shardRows - first);
    let weights = words + first * layout.words * 4;
    if (tile) {
      const into = heapAddress(backend, tile);
      for (let row = 0; row < count; row++) {
        const from = weights + row * layout.words * 4;
        const scalesOfRow = scales + (first + row) * layout.scaleWords * 4;
        const stepsOfRow = layout.paddedColumns / unpackCode[format].columns;
        kernels[`unpack_${format}`](from, scalesOfRow, into + row * tokenBytes, stepsOfRow);
      }
      weights = into;
    }
    const blocks = Math.floor(count / rowsOfBlock);
    const done = blocks * rowsOfBlock;
    for (let token = 0; token < tokens; token += 2) {
      const kind = token + 1 < tokens ? 'pair' : 'one';
      const input = x + token * tokenBytes;
      const output = result + (token * rows + first) * 4;
      const common = [steps, tokenBytes, 0, tokenBytes, rows * 4];
      if (blocks > 0) kernels[`${kind}Block_f32`](weights, 0, input, output, blocks, ...common);
      if (done < count) {
        kernels[`${kind}Row_f32`](weights + done * tokenBytes, 0, input, output + done * 4, count - done, ...common);
      }
    }
  }
  if (tile) backend.disposeData(tile.dataId);
}
