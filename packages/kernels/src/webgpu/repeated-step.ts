import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, type Scalar, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { bufferOf, forgetValues } from '../tensors.ts';
import { type RecordedStep, recordOps, submitInOrder } from './recorded-step.ts';

export interface RepeatedStepSettings {
  /** Calls the operations of a step. Disposes all that it makes but its result. See `recordOps`. */
  body: () => Scalar;
  /** Tensors that the body writes in place. */
  written: readonly TensorInfo[];
  /** Results that are kept at most until they are read. */
  results: number;
}

/** Fills the inputs of a step, tensors that its body reads. */
export interface StepInputs {
  /** Copies a whole tensor to the place of a number in another. */
  copy(source: TensorInfo, target: TensorInfo, offset?: number): void;
  /** Writes numbers of the host to the place of a number. */
  write(values: Float32Array | Int32Array, target: TensorInfo, offset?: number): void;
}

interface Write {
  values: Float32Array | Int32Array;
  target: GPUBuffer;
  /** A number's place. */
  offset: number;
}

/**
 * A step of stock ops and fused kernels on WebGPU, recorded once and run again and again: a run makes no buffer and no bind group. Each
 * run gives one number, which stays on the device until it is read with others.
 */
export class RepeatedStep {
  private readonly gpu: WebGPUBackend;
  private readonly step: RecordedStep;
  private readonly result: GPUBuffer;
  private readonly ring: GPUBuffer;
  private readonly written: readonly TensorInfo[];
  private readonly capacity: number;
  private unread = 0;
  /** Where numbers of the host arrive. */
  private arrivals: GPUBuffer | undefined;

  /** Records; nothing is computed. Throws 'unsupported-feature' where the body asks for what cannot be recorded. */
  constructor({ body, written, results }: RepeatedStepSettings) {
    this.gpu = backend() as WebGPUBackend;
    this.written = written;
    this.capacity = results;
    let result: Scalar | undefined;
    try {
      this.step = recordOps(this.gpu, () => {
        result = body();
      });
      this.result = bufferOf(this.gpu, result!);
    } finally {
      // Its buffer stays, with the step.
      result?.dispose();
    }
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    this.ring = this.gpu.device.createBuffer({ label: 'kvlr results of a recorded step', size: 4 * results, usage });
  }

  get dispatches(): number {
    return this.step.dispatches;
  }

  /** Bytes of all buffers that are its own. */
  get byteLength(): number {
    return this.step.byteLength + this.ring.size;
  }

  /** Runs the step behind all that was asked of the backend before, its inputs filled first. */
  run(fill: (inputs: StepInputs) => void): void {
    const { gpu, step } = this;
    if (this.unread === this.capacity) {
      throw new KvlrError('invalid-argument', {
        message: `expected results to be read after ${this.capacity} steps at most, got one step more.`,
      });
    }
    const writes: Write[] = [];
    submitInOrder(gpu, (encoder) => {
      fill({
        copy: (source, target, offset = 0) => {
          const [from, to] = [bufferOf(gpu, source), bufferOf(gpu, target)];
          encoder.copyBufferToBuffer(from, 0, to, 4 * offset, 4 * util.sizeFromShape(source.shape));
        },
        write: (values, target, offset = 0) => writes.push({ values, target: bufferOf(gpu, target), offset }),
      });
      this.writeTogether(writes, encoder);
      const pass = encoder.beginComputePass();
      step.encode(pass);
      pass.end();
      encoder.copyBufferToBuffer(this.result, 0, this.ring, 4 * this.unread, 4);
    });
    this.unread += 1;
    for (const tensor of this.written) forgetValues(gpu, tensor);
  }

  /** The results since the last call, in their order. */
  async read(): Promise<number[]> {
    const size = 4 * this.unread;
    this.unread = 0;
    if (size === 0) return [];
    const { gpu, ring } = this;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = gpu.device.createBuffer({ label: 'kvlr results on their way', size, usage });
    try {
      submitInOrder(gpu, (encoder) => encoder.copyBufferToBuffer(ring, 0, staging, 0, size));
      await staging.mapAsync(GPUMapMode.READ);
      return Array.from(new Float32Array(staging.getMappedRange()));
    } finally {
      staging.destroy();
    }
  }

  /** Frees its buffers, once what was submitted has run. */
  dispose(): void {
    this.step.dispose();
    this.ring.destroy();
    this.arrivals?.destroy();
  }

  /** All numbers in one write, and from there to their places: it follows the steps that were submitted before. */
  private writeTogether(writes: readonly Write[], encoder: GPUCommandEncoder): void {
    const total = writes.reduce((sum, { values }) => sum + values.byteLength, 0);
    if (total === 0) return;
    if (this.arrivals === undefined || this.arrivals.size < total) {
      this.arrivals?.destroy();
      const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      this.arrivals = this.gpu.device.createBuffer({ label: 'kvlr inputs of a recorded step', size: total, usage });
    }
    const bytes = new Uint8Array(total);
    let start = 0;
    for (const { values, target, offset } of writes) {
      const { buffer, byteOffset, byteLength } = values;
      bytes.set(new Uint8Array(buffer, byteOffset, byteLength), start);
      encoder.copyBufferToBuffer(this.arrivals, start, target, 4 * offset, byteLength);
      start += byteLength;
    }
    this.gpu.queue.writeBuffer(this.arrivals, 0, bytes);
  }
}
