import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { allocateOnHost, heapAddress, hostFloats, hostWords } from '../../host/host-heap.ts';
import { rowLayout } from '../../weights/weight-format.ts';
import { multiplyOnCpu } from '../host/multiply-on-cpu.ts';
import type { ProductTask } from '../host/product-task.ts';
import { multiplyTiles } from './multiply-tiles.ts';
import { type ProductKernels, productKernels, rowsOfBlock } from './product-kernels.ts';
import { quantiseActivations, quantisedWords } from './quantise-activations.ts';
import { unpackCode } from './unpack-code.ts';

/**
 * Multiplies on the wasm heap with vectors. For one token the weights are unpacked inside the product, and the memory read is
 * what they take packed. For several, tiles of rows are unpacked to float32 once and meet the tokens two at a time.
 */
export function multiplyOnWasm(backend: BackendWasm, task: ProductTask): void {
  const kernels = productKernels(backend);
  if (kernels === undefined) multiplyOnCpu(backend, task);
  else if (task.tokens > 1) multiplyTiles(backend, kernels, task);
  else if (task.format === 'f32' || task.format === 'f16') multiplyFloats(backend, kernels, task);
  else multiplyIntegers(backend, kernels, task);
}

function multiplyFloats(backend: BackendWasm, kernels: ProductKernels, task: ProductTask): void {
  const { format, columns } = task;
  const { words: wordsOfRow, paddedColumns } = rowLayout(format, columns);
  const steps = paddedColumns / unpackCode[format].columns;
  const words = heapAddress(backend, task.words);
  const x = heapAddress(backend, task.staged);
  const result = heapAddress(backend, task.product) + task.firstRow * 4;
  const rowBytes = wordsOfRow * 4;
  inBlocks(task, (kind, first, blocks) => {
    kernels[`${kind}_${format}`]!(words + first * rowBytes, x, result + first * 4, blocks, steps, rowBytes, 0, 0);
  });
}

function multiplyIntegers(backend: BackendWasm, kernels: ProductKernels, task: ProductTask): void {
  const { format, columns } = task;
  const layout = rowLayout(format, columns);
  const steps = layout.paddedColumns / unpackCode[format].columns;
  const quantised = allocateOnHost(backend, [quantisedWords(layout.paddedColumns)], 'int32');
  quantiseActivations(hostFloats(backend, task.staged), hostWords(backend, quantised));
  const words = heapAddress(backend, task.words);
  const scales = heapAddress(backend, task.scales!);
  const x = heapAddress(backend, quantised);
  const xScales = x + layout.paddedColumns * 2;
  const result = heapAddress(backend, task.product) + task.firstRow * 4;
  const [rowBytes, scaleBytes] = [layout.words * 4, layout.scaleWords * 4];
  inBlocks(task, (kind, first, blocks) => {
    const weights = [words + first * rowBytes, scales + first * scaleBytes];
    kernels[`${kind}_${format}`]!(...weights, x, xScales, result + first * 4, blocks, steps, rowBytes, scaleBytes);
  });
  backend.disposeData(quantised.dataId);
}

/** Calls for the rows that fill blocks, and for the rest one by one. */
function inBlocks(task: ProductTask, multiply: (kind: 'block' | 'row', first: number, blocks: number) => void): void {
  const blocks = Math.floor(task.shardRows / rowsOfBlock[task.format]);
  const rest = task.shardRows - blocks * rowsOfBlock[task.format];
  if (blocks > 0) multiply('block', 0, blocks);
  if (rest > 0) multiply('row', task.shardRows - rest, rest);
}
