import { slotWords } from '@kvlr/core';
import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, Tensor4D, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../fused-kernel.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../tensors.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { type CacheFormat, formatShape, slotsOf } from './cache-format.ts';
import { decodeSlot, viewCache } from './slot-codec.ts';
import { slotReader } from './slot-codec-webgpu.ts';

interface CopyInputs {
  /** int32 [batch, capacity, entryWords] */
  source: TensorInfo;
  /** int32 [batch, capacity, entryWords], written in place; the capacities may differ. */
  target: TensorInfo;
  /** int32 [batch, 3] */
  runs: TensorInfo;
}

interface CopyAttributes {
  /** The longest run. */
  longest: number;
  /** Length of the ring, and where it begins, on the side that is one. Neither: 0. */
  window: number;
  sinks: number;
  ringSide: 'source' | 'target' | 'none';
}

const copy = defineFusedKernel<CopyInputs, CopyAttributes>({
  name: 'KvlrCopyEntries',
  bytesRead: ({ source }, { longest }) => 4 * source.shape[0]! * longest * source.shape[2]!,
  webgpu: ({ inputs, attributes, backend }) => copyOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => copyOnHost(backend, inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => copyOnHost(backend as MathBackendCPU, inputs, attributes),
});

/** Row of `runs`: entries to copy, the first place in the linear side, and the place in the ring that goes with it. */
export type CopyRun = readonly [count: number, linearStart: number, ringStart: number];

/**
 * Copies a run of entries of each sequence between two caches of the same format, in place: to grow or fork a cache, to lay out a
 * ring in order, and to wind it up again. The ring's places are sinks + (ringStart + i) mod window; without a ring both sides
 * begin at linearStart.
 */
export function copyEntries(inputs: { [Name in keyof CopyInputs]: Tensor }, attributes: CopyAttributes): void {
  if (attributes.longest > 0) copy(inputs, attributes);
}

function copyOnHost(backend: HostBackend, inputs: CopyInputs, attributes: CopyAttributes): TensorInfo[] {
  const source = hostWords(backend, inputs.source);
  const target = hostWords(backend, inputs.target);
  const runs = hostWords(backend, inputs.runs);
  const { window, sinks, ringSide } = attributes;
  const [batch, sourceCapacity, entryWords] = inputs.source.shape as [number, number, number];
  const targetCapacity = inputs.target.shape[1]!;
  for (let sequence = 0; sequence < batch; sequence++) {
    const count = runs[3 * sequence]!;
    for (let i = 0; i < count; i++) {
      const linear = runs[3 * sequence + 1]! + i;
      const ring = ringSide === 'none' ? linear : sinks + ((runs[3 * sequence + 2]! + i) % window);
      const from = sequence * sourceCapacity + (ringSide === 'source' ? ring : linear);
      const to = sequence * targetCapacity + (ringSide === 'target' ? ring : linear);
      target.set(source.subarray(from * entryWords, (from + 1) * entryWords), to * entryWords);
    }
  }
  return [];
}

function copyOnGpu(gpu: WebGPUBackend, inputs: CopyInputs, attributes: CopyAttributes): TensorInfo[] {
  const [batch, sourceCapacity, entryWords] = inputs.source.shape as [number, number, number];
  const { longest, window, sinks, ringSide } = attributes;
  // The words of a run may need more workgroups than one dimension holds.
  const words = longest * entryWords;
  const across = Math.min(Math.ceil(words / 64), 4096);
  runProgram(gpu, {
    name: 'copy_entries',
    shape: [entryWords, window, sinks, ringSide],
    reads: [
      { name: 'source', type: 'u32', tensor: inputs.source },
      { name: 'runs', type: 'struct Run', tensor: inputs.runs },
    ],
    writes: [{ name: 'copy', type: 'u32', tensor: inputs.target }],
    uniforms: [
      { name: 'sourceCapacity', type: 'i32', value: sourceCapacity },
      { name: 'targetCapacity', type: 'i32', value: inputs.target.shape[1]! },
      { name: 'across', type: 'i32', value: across },
    ],
    workgroups: [across, Math.ceil(words / (64 * across)), batch],
    source: () => ({
      constants: {
        entryWords,
        window: Math.max(1, window),
        sinks,
        sourceIsRing: ringSide === 'source',
        targetIsRing: ringSide === 'target',
      },
      code: copyRuns,
    }),
  });
  return [];
}

const copyRuns = `
  struct Run {
    count: i32,
    linearStart: i32,
    ringStart: i32,
  }

  @compute @workgroup_size(64)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let word = (i32(group.y) * uniforms.across + i32(group.x)) * 64 + i32(index);
    let sequence = i32(group.z);
    let run = runs[sequence];
    let i = word / entryWords;
    if (i >= run.count) { return; }
    let linear = run.linearStart + i;
    let ring = sinks + (run.ringStart + i) % window;
    let begin = sequence * uniforms.sourceCapacity + select(linear, ring, sourceIsRing);
    let end = sequence * uniforms.targetCapacity + select(linear, ring, targetIsRing);
    copy[end * entryWords + word % entryWords] = source[begin * entryWords + word % entryWords];
  }`;

interface ReadInputs {
  /** int32 [batch, capacity, entryWords] */
  cache: TensorInfo;
}

interface ReadAttributes {
  format: CacheFormat;
  part: 'keys' | 'values';
}

const read = defineFusedKernel<ReadInputs, ReadAttributes>({
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
  const [keys] = read({ cache }, { format, part: 'keys' });
  const [values] = read({ cache }, { format, part: 'values' });
  return { keys: keys as Tensor4D, values: values as Tensor4D };
}

function readOnHost(backend: HostBackend, { cache }: ReadInputs, { format, part }: ReadAttributes): TensorInfo {
  const [batch, capacity, entryWords] = cache.shape as [number, number, number];
  const { slots, width, slotWords, offset } = slotsOf(format, part);
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
  const { slots, width, slotWords: wordsOfSlot, offset } = slotsOf(format, part);
  const { numbersPerWord, headerWords } = slotWords(format.dtype);
  const [result] = runProgram(gpu, {
    name: 'read_entries',
    shape: [...formatShape(format), part],
    reads: [{ name: 'cache', type: 'u32', tensor: cache }],
    writes: [{ name: 'numbers', type: 'f32', shape: [batch, slots, capacity, width], dtype: 'float32' }],
    uniforms: [{ name: 'capacity', type: 'i32', value: capacity }],
    workgroups: [Math.ceil((capacity * width) / 64), slots, batch],
    source: () => ({
      constants: {
        entryWords,
        slots,
        slotWidth: width,
        slotWords: wordsOfSlot,
        slotOffset: offset,
        headerSize: headerWords,
        perWord: numbersPerWord,
      },
      code: slotReader(format.dtype) + readSlots,
    }),
  });
  return result!;
}

const readSlots = `
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
  }`;
