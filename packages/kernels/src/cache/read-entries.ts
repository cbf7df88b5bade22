import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, Tensor4D, TensorInfo } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../host/host-heap.ts';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { CacheFormat } from './cache-format.ts';
import { decodeSlot, viewCache } from './slot-codec.ts';
import { headerWords, numbersPerWord, slotReader } from './slot-shader.ts';

interface ReadInputs {
  /** int32 [batch, capacity, entryWords] */
  cache: TensorInfo;
}

interface ReadAttributes {
  format: CacheFormat;
  part: 'keys' | 'values';
}

/** Where one part of an entry lies. */
function partOf({ layout, keySlotWords, valueSlotWords }: CacheFormat, part: 'keys' | 'values') {
  return part === 'keys'
    ? { slots: layout.keySlots, width: layout.keySlotWidth, slotWords: keySlotWords, offset: 0 }
    : {
        slots: layout.valueSlots,
        width: layout.valueSlotWidth,
        slotWords: valueSlotWords,
        offset: layout.keySlots * keySlotWords,
      };
}

const run = defineFusedKernel<ReadInputs, ReadAttributes>({
  name: 'KvlrReadEntries',
  bytesRead: ({ cache }) => 4 * cache.shape.reduce((product, size) => product * size, 1),
  webgpu: ({ inputs, attributes, backend }) => readOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => readOnHost(backend, inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => readOnHost(backend, inputs, attributes),
});

/**
 * A cache as float32 tensors for stock ops, unused places included: keys [batch, keySlots, capacity, keySlotWidth] and values
 * [batch, valueSlots, capacity, valueSlotWidth]. For layouts that the fused attention does not serve ('rebuilt').
 */
export function readEntries(cache: Tensor, format: CacheFormat): { keys: Tensor4D; values: Tensor4D } {
  const [keys] = run({ cache }, { format, part: 'keys' });
  const [values] = run({ cache }, { format, part: 'values' });
  return { keys: keys as Tensor4D, values: values as Tensor4D };
}

function readOnHost(backend: HostBackend, { cache }: ReadInputs, { format, part }: ReadAttributes): TensorInfo {
  const [batch, capacity, entryWords] = cache.shape as [number, number, number];
  const { slots, width, slotWords, offset } = partOf(format, part);
  const result = allocateOnHost(backend, [batch, slots, capacity, width], 'float32');
  const view = viewCache(hostWords(backend, cache));
  const numbers = hostFloats(backend, result);
  for (let sequence = 0; sequence < batch; sequence++) {
    for (let slot = 0; slot < slots; slot++) {
      for (let place = 0; place < capacity; place++) {
        const at = (sequence * capacity + place) * entryWords + offset + slot * slotWords;
        decodeSlot(view, at, format.dtype, numbers, ((sequence * slots + slot) * capacity + place) * width, width);
      }
    }
  }
  return result;
}

function readOnGpu(gpu: WebGPUBackend, { cache }: ReadInputs, { format, part }: ReadAttributes): TensorInfo {
  const [batch, capacity, entryWords] = cache.shape as [number, number, number];
  const { slots, width, slotWords, offset } = partOf(format, part);
  const [result] = runProgram(gpu, {
    name: 'read_entries',
    constants: {
      dtype: format.dtype,
      entryWords,
      slots,
      slotWidth: width,
      slotWords,
      slotOffset: offset,
      headerSize: headerWords(format.dtype),
      perWord: numbersPerWord[format.dtype],
    },
    reads: [{ name: 'cache', type: 'u32', tensor: cache }],
    writes: [{ name: 'numbers', type: 'f32', shape: [batch, slots, capacity, width], dtype: 'float32' }],
    uniforms: [{ name: 'capacity', type: 'i32', value: capacity }],
    workgroups: [Math.ceil((capacity * width) / 64), slots, batch],
    code: () => `
  ${slotReader(format.dtype)}
  @compute @workgroup_size(64)
  fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let place = i32(id.x) / slotWidth;
    let c = i32(id.x) % slotWidth;
    let slot = i32(id.y);
    let sequence = i32(id.z);
    if (place >= uniforms.capacity) { return; }
    let at = (sequence * uniforms.capacity + place) * entryWords + slotOffset + slot * slotWords;
    let number = numberOf(cache[at + headerSize + c / perWord], c % perWord, slotHeader(at));
    numbers[((sequence * slots + slot) * uniforms.capacity + place) * slotWidth + c] = number;
  }`,
  });
  return result!;
}
