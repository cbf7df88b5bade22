import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type DataId, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { bookCounts, type KernelCount, recordCounts } from '../fused-kernel.ts';
import { withStockPrograms } from './stock-programs.ts';

/** A list of dispatches with all their buffers bound, to be run again and again. */
export interface RecordedStep {
  /** Writes the dispatches, or those of one kind alone, into a pass. Makes no bind group and no buffer, and writes none. */
  encode(pass: GPUComputePassEncoder, kind?: string): void;
  readonly dispatches: number;
  /** Kinds of dispatches, by kernel and workgroups, with the number of each. */
  readonly kinds: ReadonlyMap<string, number>;
  /** Bytes of the buffers that are its own: intermediate results and uniforms. */
  readonly byteLength: number;
  /** Frees its buffers, once what was submitted has run. */
  dispose(): void;
}

interface RecordedDispatch {
  /** Of the kernel. */
  name: string;
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
  workgroups: readonly [x: number, y?: number, z?: number];
}

/** Backends that are recording now. */
const recordings = new WeakMap<WebGPUBackend, Recording>();

/** The recording that a backend's programs go to, if it is recording. */
export function recordingOf(gpu: WebGPUBackend): Recording | undefined {
  return recordings.get(gpu);
}

/**
 * Records the fused kernels that `body` calls instead of running them. Their results get buffers of the step's own, never those of
 * tfjs's pool; a buffer that `body` frees may serve its later results. Tensors that `body` reads or writes in place must lie on the
 * device and stay there for as long as the step is run; all that changes from run to run must lie in them, for uniforms stay as
 * they are. Nothing that `body` makes has values afterwards: it disposes all of it (call it inside tf.tidy). Throws
 * 'unsupported-feature' where `body` runs a stock op or reads a tensor that is not on the device.
 */
export function recordStep(gpu: WebGPUBackend, body: () => void): RecordedStep {
  return record(gpu, new Recording(gpu), () => {
    // Stock ops would be run now instead of later.
    Object.assign(gpu, { runWebGPUProgram: refuseStockOp });
    try {
      body();
    } finally {
      delete (gpu as Partial<WebGPUBackend>).runWebGPUProgram;
    }
  });
}

/**
 * The same of stock ops and fused kernels, gradients among them. What `body` takes from the host, tensors that it makes of numbers, are
 * constants of the step. Throws 'unsupported-feature' where it reads or copies values on the device.
 */
export function recordOps(gpu: WebGPUBackend, body: () => void): RecordedStep {
  const recording = new Recording(gpu, (gpu as unknown as { nextDataId(): number }).nextDataId());
  return record(gpu, recording, () => withStockPrograms(gpu, recording, body));
}

function record(gpu: WebGPUBackend, recording: Recording, body: () => void): RecordedStep {
  recordings.set(gpu, recording);
  try {
    return recording.finish(recordCounts(body));
  } catch (error) {
    recording.destroy();
    throw error;
  } finally {
    recordings.delete(gpu);
  }
}

const resultUsage = 0x80 | 0x4 | 0x8; // STORAGE, COPY_SRC, COPY_DST

/** Programs and buffers of a step in the making. */
export class Recording {
  private readonly gpu: WebGPUBackend;
  private readonly firstId: number;
  private readonly dispatches: RecordedDispatch[] = [];
  private readonly buffers: GPUBuffer[] = [];
  /** Buffers of results, with the tensor that holds each for now. */
  private held: { dataId: DataId; buffer: GPUBuffer }[] = [];
  private free: GPUBuffer[] = [];

  /** @param firstId Tensors with values on the host are constants from this number of tfjs's on; default: none are. */
  constructor(gpu: WebGPUBackend, firstId = Number.POSITIVE_INFINITY) {
    this.gpu = gpu;
    this.firstId = firstId;
  }

  /** Whether a tensor was made since the recording began. */
  owns(dataId: DataId): boolean {
    return (dataId as { id: number }).id >= this.firstId;
  }

  /** The buffer of a tensor; one of the step's own where it has none yet. */
  bufferOf({ dataId }: Pick<TensorInfo, 'dataId'>): GPUBuffer {
    const data = this.gpu.tensorMap.get(dataId);
    if (data.resource) return data.resource as GPUBuffer;
    if (data.values && this.owns(dataId)) {
      const buffer = this.constant(data.values as ArrayLike<number>, data.dtype);
      Object.assign(data, { resource: buffer, external: true, values: null });
      return buffer;
    }
    if (data.values && this.firstId < Number.POSITIVE_INFINITY) {
      // It was there before, and stays tfjs's.
      this.gpu.uploadToGPU(dataId);
      return this.gpu.tensorMap.get(dataId).resource as GPUBuffer;
    }
    if (data.values) {
      throw new KvlrError('unsupported-feature', {
        message: `expected tensors on the device while a step is recorded, got values [${data.shape}] of the host.`,
        data: { shape: data.shape },
      });
    }
    const buffer = this.allocate(4 * util.sizeFromShape(data.shape));
    // tfjs leaves the buffers of others alone when it frees tensors.
    Object.assign(data, { resource: buffer, external: true });
    this.held.push({ dataId, buffer });
    return buffer;
  }

  /** A buffer of uniforms with these bytes. */
  uniforms(bytes: ArrayBuffer): GPUBuffer {
    return this.filled('kvlr uniforms of a recorded step', GPUBufferUsage.UNIFORM, bytes);
  }

  /** A buffer of uniforms that the caller writes before the step first runs. */
  emptyUniforms(size: number): GPUBuffer {
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const buffer = this.gpu.device.createBuffer({ label: 'kvlr uniforms of a recorded step', size, usage });
    this.buffers.push(buffer);
    return buffer;
  }

  add(dispatch: RecordedDispatch): void {
    this.dispatches.push(dispatch);
  }

  finish(counts: ReadonlyMap<string, KernelCount>): RecordedStep {
    const { buffers } = this;
    const dispatches = this.dispatches.map((each) => ({ ...each, kind: kindOf(each) }));
    const kinds = new Map<string, number>();
    for (const { kind } of dispatches) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    return {
      dispatches: dispatches.length,
      kinds,
      byteLength: buffers.reduce((sum, { size }) => sum + size, 0),
      encode(pass, only) {
        let before: GPUComputePipeline | undefined;
        for (const { kind, pipeline, group, workgroups } of dispatches) {
          if (only !== undefined && kind !== only) continue;
          if (pipeline !== before) pass.setPipeline(pipeline);
          before = pipeline;
          pass.setBindGroup(0, group);
          pass.dispatchWorkgroups(...workgroups);
        }
        if (only === undefined) bookCounts(counts);
      },
      dispose: () => this.destroy(),
    };
  }

  destroy(): void {
    for (const buffer of this.buffers.splice(0)) buffer.destroy();
  }

  private constant(values: ArrayLike<number>, dtype: string): GPUBuffer {
    // Booleans are bytes on the host.
    const words = dtype === 'float32' ? Float32Array.from(values) : Int32Array.from(values);
    return this.filled('kvlr constant of a recorded step', resultUsage, words.buffer);
  }

  private filled(label: string, usage: number, bytes: ArrayBuffer): GPUBuffer {
    const buffer = this.gpu.device.createBuffer({ label, size: bytes.byteLength, usage, mappedAtCreation: true });
    new Uint8Array(buffer.getMappedRange()).set(new Uint8Array(bytes));
    buffer.unmap();
    this.buffers.push(buffer);
    return buffer;
  }

  private allocate(size: number): GPUBuffer {
    // What the body has disposed is free again.
    const isHeld = ({ dataId }: { dataId: DataId }) => this.gpu.tensorMap.has(dataId);
    this.free.push(...this.held.filter((each) => !isHeld(each)).map(({ buffer }) => buffer));
    this.held = this.held.filter(isHeld);
    const place = this.free.findIndex((buffer) => buffer.size === size);
    if (place >= 0) return this.free.splice(place, 1)[0]!;
    const buffer = this.gpu.device.createBuffer({ label: 'kvlr result of a recorded step', size, usage: resultUsage });
    this.buffers.push(buffer);
    return buffer;
  }
}

function kindOf({ name, workgroups }: RecordedDispatch): string {
  return `${name}, ${workgroups.join(' x ')} workgroups`;
}

function refuseStockOp(program: { shaderKey?: string }): never {
  throw new KvlrError('unsupported-feature', {
    message: `expected fused kernels alone while a step is recorded, got the stock program ${program.shaderKey ?? ''}.`,
  });
}

/**
 * Submits what tfjs has recorded so far, then what `encode` writes, so that the order of calls is the order on the device.
 */
export function submitInOrder(gpu: WebGPUBackend, encode: (encoder: GPUCommandEncoder) => void): void {
  gpu.endComputePassEncoder();
  if ((gpu as unknown as { commandEncoder: GPUCommandEncoder | null }).commandEncoder) gpu.submitQueue();
  const encoder = gpu.device.createCommandEncoder();
  encode(encoder);
  gpu.queue.submit([encoder.finish()]);
}
