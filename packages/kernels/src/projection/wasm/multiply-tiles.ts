import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { allocateOnHost, heapAddress } from '../../host/host-heap.ts';
import { rowLayout } from '../../weights/weight-format.ts';
import type { ProductTask } from '../host/product-task.ts';
import { type ProductKernels, rowsOfBlock } from './product-kernels.ts';
import { unpackCode } from './unpack-code.ts';

/** Rows unpacked at a time: few enough to stay in a cache of the second level. */
const rowsOfTile = 64;

/** The product for several tokens: tiles of rows, unpacked to float32 where they are packed, meet two tokens at a time. */
export function multiplyTiles(backend: BackendWasm, kernels: ProductKernels, task: ProductTask): void {
  const { format, columns, tokens, shardRows, rows, firstRow } = task;
  const { paddedColumns, words, scaleWords } = rowLayout(format, columns);
  const tile = format === 'f32' ? undefined : allocateOnHost(backend, [rowsOfTile, paddedColumns], 'float32');
  const firstWord = heapAddress(backend, task.words);
  const firstScale = task.scales ? heapAddress(backend, task.scales) : 0;
  const x = heapAddress(backend, task.staged);
  const result = heapAddress(backend, task.product) + firstRow * 4;
  const rowBytes = paddedColumns * 4;
  for (let first = 0; first < shardRows; first += rowsOfTile) {
    const count = Math.min(rowsOfTile, shardRows - first);
    let weights = firstWord + first * words * 4;
    if (tile) {
      const into = heapAddress(backend, tile);
      for (let row = 0; row < count; row++) {
        const scales = firstScale + (first + row) * scaleWords * 4;
        const steps = paddedColumns / unpackCode[format].columns;
        kernels[`unpack_${format}`]!(weights + row * words * 4, scales, into + row * rowBytes, steps);
      }
      weights = into;
    }
    const steps = paddedColumns / unpackCode.f32.columns;
    for (let token = 0; token < tokens; token += 2) {
      const kind = token + 1 < tokens ? 'pair' : 'f32';
      const blocks = Math.floor(count / rowsOfBlock[kind]);
      const done = blocks * rowsOfBlock[kind];
      const input = x + token * rowBytes;
      const output = result + (token * rows + first) * 4;
      const distances = [steps, rowBytes, rowBytes, rows * 4];
      if (blocks > 0) kernels[`block_${kind}`]!(weights, input, output, blocks, ...distances);
      if (done < count) {
        kernels[`row_${kind}`]!(weights + done * rowBytes, input, output + done * 4, count - done, ...distances);
      }
    }
  }
  if (tile) backend.disposeData(tile.dataId);
}
