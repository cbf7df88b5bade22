import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend, WebGPUProgram } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor, type TypedArray } from '@tensorflow/tfjs-core';

/**
 * Writes rows [slots, tokens, width] into target [slots, capacity, width] at `position`, in place. tfjs tensors are
 * immutable by contract, so each backend is written to below its ops. Growing a cache by concat instead would copy it at
 * every token, and on WebGPU would fill the buffer pool, which keeps every size it has seen.
 */
export function appendRows(target: Tensor, rows: Tensor, position: number): void {
  const [slots, tokens, width] = rows.shape.slice(-3) as [number, number, number];
  const capacity = target.shape[target.shape.length - 2]!;
  const block = { slots, blockSize: tokens * width, stride: capacity * width, offset: position * width };
  switch (getBackend()) {
    case 'webgpu':
      appendOnWebGpu(target, rows, block);
      break;
    case 'wasm': {
      const wasm = backend() as BackendWasm;
      copyBlocks(wasm.typedArrayFromHeap(target), wasm.typedArrayFromHeap(rows), block);
      forgetPackedCopies(wasm, target);
      break;
    }
    default: {
      const cpu = backend() as MathBackendCPU;
      const values = (tensor: Tensor) => cpu.data.get(tensor.dataId).values as TypedArray;
      copyBlocks(values(target), values(rows), block);
    }
  }
}

/** XNNPACK packs the right factor of a product and keeps it under the tensor's id until that is disposed. */
function forgetPackedCopies(wasm: BackendWasm, tensor: Tensor): void {
  const { id, memoryOffset } = wasm.dataIdMap.get(tensor.dataId);
  wasm.wasm.tfjs.disposeData(id);
  wasm.wasm.tfjs.registerTensor(id, tensor.size, memoryOffset);
}

interface Block {
  slots: number;
  /** Numbers of one slot among the rows. */
  blockSize: number;
  /** Numbers of one slot of the target. */
  stride: number;
  /** Where in a slot the rows begin. */
  offset: number;
}

function copyBlocks(target: TypedArray, rows: TypedArray, block: Block): void {
  const { slots, blockSize, stride, offset } = block;
  for (let slot = 0; slot < slots; slot++) {
    target.set(rows.subarray(slot * blockSize, (slot + 1) * blockSize), slot * stride + offset);
  }
}

function appendOnWebGpu(target: Tensor, rows: Tensor, block: Block): void {
  const gpu = backend() as WebGPUBackend;
  const program: WebGPUProgram = {
    variableNames: ['rows'],
    outputShape: [rows.size],
    shaderKey: 'kvlr_append_rows',
    workgroupSize: [64, 1, 1],
    dispatchLayout: { x: [0] },
    dispatch: [Math.ceil(rows.size / 64), 1, 1],
    uniforms: 'count : i32, blockSize : i32, stride : i32, offset : i32,',
    getUserCode: () => `
      fn main(index : i32) {
        if (index < uniforms.count) {
          let slot = index / uniforms.blockSize;
          let within = index - slot * uniforms.blockSize;
          result[slot * uniforms.stride + uniforms.offset + within] = rows[index];
        }
      }`,
  };
  const numbers = [rows.size, block.blockSize, block.stride, block.offset];
  const uniforms = numbers.map((value) => ({ type: 'int32', data: [value] }));
  gpu.runWebGPUProgram(program, [rows], 'float32', uniforms, target);
  // The values that the tensor was made from are stale now; without them tfjs reads the buffer.
  Object.assign(gpu.tensorMap.get(target.dataId), { values: null });
}
