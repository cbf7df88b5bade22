import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import {
  BatchMatMul,
  broadcast_util,
  getKernel,
  type KernelBackend,
  type KernelConfig,
  registerKernel,
  type TensorInfo,
  Transpose,
  unregisterKernel,
  util,
} from '@tensorflow/tfjs-core';

interface ProductCall {
  inputs: { a: TensorInfo; b: TensorInfo };
  backend: BackendWasm;
  attrs: { transposeA: boolean; transposeB: boolean };
}

/** The part of Emscripten's module that tfjs leaves out of its types. */
interface EmscriptenModule {
  cwrap(name: string, returnType: null, argumentTypes: string[]): (...values: (number | Uint8Array)[]) => void;
}

type Multiply = (left: View, right: View, result: View) => void;

/** A matrix inside the memory of a tensor, registered with the wasm module under an id of its own. */
interface View {
  id: number;
  rows: number;
  columns: number;
}

/**
 * Replaces the matrix product of the wasm backend. The stock kernel reaches XNNPACK only for one plain product; with a
 * batch or with a transposed factor it falls to a scalar loop more than ten times slower. This one composes
 * every case of plain products: factors are transposed by copying, and each matrix of a batch is multiplied in place through a view
 * of the tensor's memory. Gradients of matMul are products with transposed factors, so training gains as well.
 */
export function installMatrixProduct(): void {
  const stock = getKernel(BatchMatMul, 'wasm');
  const kernelFunc = (call: ProductCall): TensorInfo => {
    const { inputs, backend, attrs } = call;
    const { a, b } = inputs;
    if (a.dtype !== 'float32' || b.dtype !== 'float32') {
      return stock.kernelFunc({ inputs: { a, b }, backend, attrs: { ...attrs } }) as TensorInfo;
    }
    const { transposeA, transposeB } = attrs;
    const sizes = a.shape.slice(-2).concat(b.shape.slice(-2)) as [number, number, number, number];
    const [rows, inner] = transposeA ? [sizes[1], sizes[0]] : [sizes[0], sizes[1]];
    const columns = transposeB ? sizes[2] : sizes[3];
    // The same product may be formed as (b' a')': take whichever copies fewer numbers.
    const direct = (transposeA ? rows * inner : 0) + (transposeB ? inner * columns : 0);
    const flipped = (transposeA ? 0 : rows * inner) + (transposeB ? 0 : inner * columns) + rows * columns;
    if (direct <= flipped) return multiplyTransposing(backend, a, b, transposeA, transposeB);
    const transposed = multiplyTransposing(backend, b, a, !transposeB, !transposeA);
    const result = transposeLastAxes(backend, transposed);
    backend.disposeData(transposed.dataId);
    return result;
  };
  unregisterKernel(BatchMatMul, 'wasm');
  registerKernel({ ...stock, kernelFunc: kernelFunc as unknown as KernelConfig['kernelFunc'] });
}

function transposeLastAxes(backend: BackendWasm, x: TensorInfo): TensorInfo {
  const rank = x.shape.length;
  const perm = x.shape.map((_, axis) => axis);
  perm[rank - 2] = rank - 1;
  perm[rank - 1] = rank - 2;
  const { kernelFunc } = getKernel(Transpose, 'wasm');
  return kernelFunc({ inputs: { x }, backend, attrs: { perm } }) as TensorInfo;
}

/** The product of two factors, each copied transposed first where asked. */
function multiplyTransposing(
  backend: BackendWasm,
  left: TensorInfo,
  right: TensorInfo,
  transposeLeft: boolean,
  transposeRight: boolean,
): TensorInfo {
  const plainLeft = transposeLeft ? transposeLastAxes(backend, left) : left;
  const plainRight = transposeRight ? transposeLastAxes(backend, right) : right;
  const result = multiplyBatches(backend, plainLeft, plainRight);
  if (transposeLeft) backend.disposeData(plainLeft.dataId);
  if (transposeRight) backend.disposeData(plainRight.dataId);
  return result;
}

/** left [..., m, k] times right [..., k, n], leading axes broadcast. */
function multiplyBatches(backend: BackendWasm, left: TensorInfo, right: TensorInfo): TensorInfo {
  const [rows, inner] = left.shape.slice(-2) as [number, number];
  const columns = right.shape[right.shape.length - 1]!;
  const leftBatch = util.sizeFromShape(left.shape.slice(0, -2));
  const rightBatch = util.sizeFromShape(right.shape.slice(0, -2));
  const outerShape = broadcast_util.assertAndGetBroadcastShape(left.shape.slice(0, -2), right.shape.slice(0, -2));
  const result = backend.makeOutput([...outerShape, rows, columns], left.dtype);
  const multiply = bindMultiply(backend);
  if (rightBatch === 1) {
    // One right factor: the batch of the left one is only more rows. Its own id lets XNNPACK keep the packed weights.
    const allRows = leftBatch * rows;
    multiply(
      { id: heapId(backend, left), rows: allRows, columns: inner },
      { id: heapId(backend, right), rows: inner, columns },
      { id: heapId(backend, result), rows: allRows, columns },
    );
    return result;
  }
  const batch = util.sizeFromShape(outerShape);
  for (let index = 0; index < batch; index++) {
    withViews(
      backend,
      [
        [left, index % leftBatch, rows, inner],
        [right, index % rightBatch, inner, columns],
        [result, index, rows, columns],
      ],
      ([leftView, rightView, resultView]) => multiply(leftView!, rightView!, resultView!),
    );
  }
  return result;
}

function heapId(backend: BackendWasm, tensor: TensorInfo): number {
  return backend.dataIdMap.get(tensor.dataId).id;
}

/** Calls `use` with views of the index-th matrix of each tensor; the views go, the memory stays. */
function withViews(
  backend: BackendWasm,
  matrices: [tensor: TensorInfo, index: number, rows: number, columns: number][],
  use: (views: View[]) => void,
): void {
  const infos = matrices.map(([tensor, index, rows, columns]) => {
    const offset = backend.dataIdMap.get(tensor.dataId).memoryOffset + index * rows * columns * 4;
    return backend.makeOutput([rows, columns], 'float32', offset);
  });
  const views = infos.map((info) => ({ id: heapId(backend, info), rows: info.shape[0]!, columns: info.shape[1]! }));
  use(views);
  infos.forEach((info, position) => {
    // Not backend.disposeData: that would free the memory, which belongs to the viewed tensor.
    backend.wasm.tfjs.disposeData(views[position]!.id);
    backend.dataIdMap.delete(info.dataId);
  });
}

const bound = new WeakMap<KernelBackend, Multiply>();

function bindMultiply(backend: BackendWasm): Multiply {
  const known = bound.get(backend);
  if (known !== undefined) return known;
  const wasm = backend.wasm as unknown as EmscriptenModule;
  const matrix = ['number', 'array', 'number'];
  const product = wasm.cwrap(BatchMatMul, null, [...matrix, ...matrix, 'number', 'number', 'number']);
  const shapeBytes = (view: View) => new Uint8Array(new Int32Array([1, view.rows, view.columns]).buffer);
  const multiply: Multiply = (left, right, result) =>
    product(left.id, shapeBytes(left), 3, right.id, shapeBytes(right), 3, 0, 0, result.id);
  bound.set(backend, multiply);
  return multiply;
}
