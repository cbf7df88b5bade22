import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { env, type TensorInfo, util } from '@tensorflow/tfjs-core';

/** What tfjs hands to a program besides tensors. */
interface ProgramUniform {
  type: string;
  data: number[];
}

interface Program {
  pixelsOpType?: unknown;
  /** Whether the shader asks how many numbers there are. */
  size?: boolean;
  outputShape: number[];
  outputComponent?: number;
  pipeline: GPUComputePipeline | Promise<GPUComputePipeline>;
  dispatch: [number, number, number];
}

/** The private fields of tfjs-backend-webgpu 4.22.0 on which `keepBindings` rests (backend_webgpu.js). */
interface BackendInternals {
  commandEncoder: GPUCommandEncoder;
  computePassEncoder: GPUComputePassEncoder | null;
  commandQueueOwnedIds: WeakSet<object>;
  dispatchCountInPass: number;
  /** Present while programs are timed. */
  activeTimers?: unknown;
  recordAndSubmit(program: Program, output: TensorInfo, inputs: TensorInfo[], defined?: ProgramUniform[]): void;
  uniformPendingDisposal: GPUBuffer[];
}

interface BufferPool {
  freeBuffers: Map<string, GPUBuffer[]>;
  acquireBuffer(size: number, usage: number, mappedAtCreation?: boolean, reuse?: boolean): GPUBuffer;
}

/** Most uniform buffers and bind groups that are kept; beyond it all are forgotten, and those in use made anew. */
const MOST_UNIFORMS = 8192;
const MOST_GROUPS = 16_384;

const UNIFORM_USAGE = 0x8 | 0x40; // COPY_DST, UNIFORM

/**
 * Keeps bind groups and uniform buffers. For every program tfjs 4.22 writes a uniform buffer, asks for the pipeline's layout and makes a
 * bind group, which costs the host more than all else of a dispatch; a step of training asks for the same ones again and again, since
 * tfjs's pool hands out the same buffers. A uniform buffer is kept from the second time on that its numbers are asked for, and never
 * written again.
 */
export function keepBindings(gpu: WebGPUBackend): WebGPUBackend {
  const internals = gpu as unknown as BackendInternals;
  const original = internals.recordAndSubmit.bind(gpu);
  const uniforms = new KeptUniforms(gpu);
  const groups = new KeptGroups(gpu.device);
  takeLowestFirst(gpu, (buffer) => groups.nameOf(buffer));
  internals.recordAndSubmit = (program, output, inputs, defined) => {
    const { pipeline } = program;
    if (program.pixelsOpType != null || internals.activeTimers != null || pipeline instanceof Promise) {
      original(program, output, inputs, defined);
      return;
    }
    const tensors = [output, ...inputs];
    const resources = tensors.map(({ dataId }) => gpu.tensorMap.get(dataId).resource as GPUBuffer);
    if (!resources.every((resource) => resource instanceof GPUBuffer)) {
      original(program, output, inputs, defined);
      return;
    }
    const uniform = uniforms.take(uniformsOf(program, [...inputs, output], defined));
    for (const { dataId } of tensors) internals.commandQueueOwnedIds.add(dataId);
    gpu.ensureCommandEncoderReady();
    internals.computePassEncoder ??= internals.commandEncoder.beginComputePass();
    const pass = internals.computePassEncoder;
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, groups.take(pipeline, resources, uniform));
    pass.dispatchWorkgroups(...program.dispatch);
    internals.dispatchCountInPass++;
    if (env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE') <= internals.dispatchCountInPass) {
      gpu.endComputePassEncoder();
      gpu.submitQueue();
    }
  };
  return gpu;
}

/**
 * Has tfjs's pool hand out the free buffer with the lowest name. What it hands out then depends on what is free, and not on the order in
 * which it became so: repeated work finds the buffers of the last time, and their bind groups.
 */
function takeLowestFirst(gpu: WebGPUBackend, nameOf: (buffer: GPUBuffer) => number): void {
  const pool = gpu.bufferManager as unknown as BufferPool;
  const original = pool.acquireBuffer.bind(pool);
  pool.acquireBuffer = (size, usage, ...rest) => {
    const free = usage === UNIFORM_USAGE ? undefined : pool.freeBuffers.get(`${size}_${usage}`);
    if (free !== undefined && free.length > 1) {
      const last = free.length - 1;
      let lowest = last;
      for (let place = 0; place < last; place++) if (nameOf(free[place]!) < nameOf(free[lowest]!)) lowest = place;
      [free[lowest], free[last]] = [free[last]!, free[lowest]!];
    }
    return original(size, usage, ...rest);
  };
}

/** As tfjs's shaders read them: no number, infinity, shapes and strides of inputs and output, the count, and the program's own. */
function uniformsOf(
  program: Program,
  tensors: readonly TensorInfo[],
  defined: ProgramUniform[] = [],
): ProgramUniform[] {
  const uniforms: ProgramUniform[] = [
    { type: 'float32', data: [Number.NaN] },
    { type: 'float32', data: [Number.POSITIVE_INFINITY] },
  ];
  for (const { shape } of tensors) {
    uniforms.push({ type: 'int32', data: shape }, { type: 'int32', data: util.computeStrides(shape) });
  }
  if (program.size) {
    const size = util.sizeFromShape(program.outputShape);
    uniforms.push({ type: 'int32', data: [program.outputComponent ? size / program.outputComponent : size] });
  }
  uniforms.push(...defined);
  return uniforms;
}

interface Uniform {
  buffer: GPUBuffer;
  /** Whether the buffer keeps these numbers; else it is one of tfjs's pool, which others follow in. */
  isKept: boolean;
}

class KeptUniforms {
  private readonly gpu: WebGPUBackend;
  /** By their numbers; undefined for those that were asked for once. */
  private readonly known = new Map<string, Uniform | undefined>();

  constructor(gpu: WebGPUBackend) {
    this.gpu = gpu;
  }

  take(uniforms: readonly ProgramUniform[]): Uniform {
    let key = '';
    for (const { type, data } of uniforms) key += `${type}${data};`;
    const known = this.known.get(key);
    if (known) return known;
    const isKept = this.known.has(key);
    const uniform = { buffer: this.fill(bytesOf(uniforms), isKept), isKept };
    if (this.known.size >= MOST_UNIFORMS) this.known.clear();
    this.known.set(key, isKept ? uniform : undefined);
    return uniform;
  }

  private fill(bytes: ArrayBuffer, isKept: boolean): GPUBuffer {
    const { device, bufferManager, queue } = this.gpu;
    const size = bytes.byteLength;
    const buffer = isKept
      ? device.createBuffer({ size, usage: UNIFORM_USAGE })
      : bufferManager.acquireBuffer(size, UNIFORM_USAGE);
    queue.writeBuffer(buffer, 0, bytes);
    if (!isKept) (this.gpu as unknown as BackendInternals).uniformPendingDisposal.push(buffer);
    return buffer;
  }
}

/** The numbers as WGSL lays the struct out (https://www.w3.org/TR/WGSL/#alignof) and tfjs 4.22 counts: vectors of 5 and 6 end on 16 bytes. */
function bytesOf(uniforms: readonly ProgramUniform[]): ArrayBuffer {
  let end = 0;
  let widest = 4;
  let isLong = false;
  const placed = uniforms.map(({ type, data }) => {
    const numbers = data.length === 0 ? [1] : data;
    const { length } = numbers;
    const own = length > 2 ? 16 : 4 * length;
    const alignment = isLong ? 16 : own;
    isLong = length > 4;
    widest = Math.max(widest, alignment);
    const start = Math.ceil(end / alignment) * alignment;
    end = start + 4 * length;
    return { type, numbers, start };
  });
  const bytes = new ArrayBuffer(Math.ceil(end / widest) * widest);
  for (const { type, numbers, start } of placed) {
    const Words = type === 'int32' ? Int32Array : type === 'uint32' ? Uint32Array : Float32Array;
    new Words(bytes, start, numbers.length).set(numbers);
  }
  return bytes;
}

class KeptGroups {
  private readonly device: GPUDevice;
  private groups = new Map<string, GPUBindGroup>();
  private readonly layouts = new WeakMap<GPUComputePipeline, GPUBindGroupLayout>();
  private readonly names = new WeakMap<object, number>();
  private named = 0;

  constructor(device: GPUDevice) {
    this.device = device;
  }

  take(pipeline: GPUComputePipeline, resources: readonly GPUBuffer[], uniform: Uniform): GPUBindGroup {
    if (!uniform.isKept) return this.make(pipeline, resources, uniform);
    let key = `${this.nameOf(pipeline)},${this.nameOf(uniform.buffer)}`;
    for (const resource of resources) key += `,${this.nameOf(resource)}`;
    const known = this.groups.get(key);
    if (known) return known;
    const group = this.make(pipeline, resources, uniform);
    if (this.groups.size >= MOST_GROUPS) this.groups.clear();
    this.groups.set(key, group);
    return group;
  }

  private make(pipeline: GPUComputePipeline, resources: readonly GPUBuffer[], uniform: Uniform): GPUBindGroup {
    const layout = this.layouts.get(pipeline) ?? pipeline.getBindGroupLayout(0);
    this.layouts.set(pipeline, layout);
    const buffers = [...resources, uniform.buffer];
    return this.device.createBindGroup({
      layout,
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
  }

  nameOf(object: object): number {
    let name = this.names.get(object);
    if (name === undefined) {
      name = this.named++;
      this.names.set(object, name);
    }
    return name;
  }
}
