import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { type HostBackend, hostWords } from '../host/host-heap.ts';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import { runProgram } from '../webgpu/run-program.ts';

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

const run = defineFusedKernel<CopyInputs, CopyAttributes>({
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
  if (attributes.longest > 0) run(inputs, attributes);
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
    constants: {
      entryWords,
      window: Math.max(1, window),
      sinks,
      sourceIsRing: ringSide === 'source' ? 1 : 0,
      targetIsRing: ringSide === 'target' ? 1 : 0,
    },
    reads: [
      { name: 'source', type: 'u32', tensor: inputs.source },
      { name: 'runs', type: 'i32', tensor: inputs.runs },
    ],
    writes: [{ name: 'copy', type: 'u32', tensor: inputs.target }],
    uniforms: [
      { name: 'sourceCapacity', type: 'i32', value: sourceCapacity },
      { name: 'targetCapacity', type: 'i32', value: inputs.target.shape[1]! },
      { name: 'across', type: 'i32', value: across },
    ],
    workgroups: [across, Math.ceil(words / (64 * across)), batch],
    code: () => `
  @compute @workgroup_size(64)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let word = (i32(group.y) * uniforms.across + i32(group.x)) * 64 + i32(index);
    let sequence = i32(group.z);
    let i = word / entryWords;
    if (i >= runs[3 * sequence]) { return; }
    let linear = runs[3 * sequence + 1] + i;
    let ring = sinks + (runs[3 * sequence + 2] + i) % window;
    let begin = sequence * uniforms.sourceCapacity + select(linear, ring, sourceIsRing == 1);
    let end = sequence * uniforms.targetCapacity + select(linear, ring, targetIsRing == 1);
    copy[end * entryWords + word % entryWords] = source[begin * entryWords + word % entryWords];
  }`,
  });
  return [];
}
