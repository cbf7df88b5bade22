import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { allocateOnHost, heapAddress, hostFloats, hostWords } from '../tensors.ts';
import { functionsOnHeap, type HeapFunctions } from '../wasm-heap.ts';
import { groupSize, rowLayout } from '../weights/pack-weights.ts';
import { multiplyOnCpu, type ProductTask } from './projection-host.ts';
import { integerProductFunction, productFunction, unpackCode, unpackFunction } from './wasm-products.ts';

/** Rows of a block, which share the loads of x. One row streams memory best; whole numbers are bound by instructions. */
const rowsOfBlock = { f32: 1, f16: 1, int8: 4, int4: 4, pair: 4 };

/** The functions that multiply packed weights on the heap of the wasm backend; their parameters stand where they are made. */
export const productFunctions = functionsOnHeap<string>(() => [
  ...(['f32', 'f16'] as const).flatMap((format) => [
    productFunction(`row_${format}`, format, 1, 1),
    productFunction(`block_${format}`, format, rowsOfBlock[format], 1),
  ]),
  ...(['int8', 'int4'] as const).flatMap((format) => [
    integerProductFunction(`row_${format}`, format, 1),
    integerProductFunction(`block_${format}`, format, rowsOfBlock[format]),
  ]),
  productFunction('row_pair', 'f32', 1, 2),
  productFunction('block_pair', 'f32', rowsOfBlock.pair, 2),
  ...(['f16', 'int8', 'int4'] as const).map((format) => unpackFunction(`unpack_${format}`, format)),
]);

type ProductFunctions = HeapFunctions<string>;

/**
 * Multiplies on the wasm heap with vectors. For one token the weights are unpacked inside the product, and the memory read is
 * what they take packed. For several, tiles of rows are unpacked to float32 once and meet the tokens two at a time.
 */
export function multiplyOnWasm(backend: BackendWasm, task: ProductTask): void {
  const functions = productFunctions(backend);
  if (functions === undefined) multiplyOnCpu(backend, task);
  else if (task.tokens > 1) multiplyTiles(backend, functions, task);
  else if (task.format === 'f32' || task.format === 'f16') multiplyByFloats(backend, functions, task);
  else multiplyByIntegers(backend, functions, task);
}

function multiplyByFloats(backend: BackendWasm, functions: ProductFunctions, task: ProductTask): void {
  const { format, columns } = task;
  const { words: wordsOfRow, paddedColumns } = rowLayout(format, columns);
  const steps = paddedColumns / unpackCode[format].columns;
  const words = heapAddress(backend, task.words);
  const x = heapAddress(backend, task.staged);
  const result = heapAddress(backend, task.product) + task.firstRow * 4;
  const rowBytes = wordsOfRow * 4;
  inBlocks(task, (kind, first, blocks) => {
    functions[`${kind}_${format}`]!(words + first * rowBytes, x, result + first * 4, blocks, steps, rowBytes, 0, 0);
  });
}

function multiplyByIntegers(backend: BackendWasm, functions: ProductFunctions, task: ProductTask): void {
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
    functions[`${kind}_${format}`]!(...weights, x, xScales, result + first * 4, blocks, steps, rowBytes, scaleBytes);
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

/** Rows unpacked at a time: few enough to stay in a cache of the second level. */
const rowsOfTile = 64;

/** The product for several tokens: tiles of rows, unpacked to float32 where they are packed, meet two tokens at a time. */
function multiplyTiles(backend: BackendWasm, functions: ProductFunctions, task: ProductTask): void {
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
        functions[`unpack_${format}`]!(weights + row * words * 4, scales, into + row * rowBytes, steps);
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
      if (blocks > 0) functions[`block_${kind}`]!(weights, input, output, blocks, ...distances);
      if (done < count) {
        functions[`row_${kind}`]!(weights + done * rowBytes, input, output + done * 4, count - done, ...distances);
      }
    }
  }
  if (tile) backend.disposeData(tile.dataId);
}

/** 32-bit words that a quantised row takes: two numbers each, then two floats per group. */
function quantisedWords(paddedColumns: number): number {
  return paddedColumns / 2 + (2 * paddedColumns) / groupSize;
}

/**
 * Writes a row of activations as 16-bit whole numbers, and behind them per group of 32 the scale and a quarter of the
 * group's sum (four equal places of a vector add up to the whole). The error is at most 2^-16 of a group's greatest
 * magnitude: 2^-9 of what 8-bit weights have of their own.
 */
function quantiseActivations(x: Float32Array, into: Int32Array): void {
  const numbers = new Int16Array(into.buffer, into.byteOffset, x.length);
  const scales = new Float32Array(into.buffer, into.byteOffset + x.length * 2, (2 * x.length) / groupSize);
  for (let first = 0, place = 0; first < x.length; first += groupSize, place += 2) {
    let greatest = 0;
    for (let column = first; column < first + groupSize; column++) greatest = Math.max(greatest, Math.abs(x[column]!));
    const scale = greatest / 32767;
    const inverse = scale > 0 ? 1 / scale : 0;
    let sum = 0;
    for (let column = first; column < first + groupSize; column++) {
      const number = Math.round(x[column]! * inverse);
      numbers[column] = number;
      sum += number;
    }
    scales[place] = scale;
    scales[place + 1] = (sum * scale) / 4;
  }
}
