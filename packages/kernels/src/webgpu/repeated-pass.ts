import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { allocateTensor, bufferOf } from '../tensors.ts';
import { type RecordedStep, recordOps, submitInOrder } from './recorded-step.ts';

export interface RepeatedPassSettings {
  /** What is given at every run. */
  inputs: readonly { shape: number[]; dtype: 'float32' | 'int32' }[];
  /** Calls the operations and returns float32 tensors; runs inside tf.tidy. See `recordOps`. */
  body: (...inputs: Tensor[]) => Tensor[];
}

/** Numbers of the host, as long as the inputs of a pass, or tensors of the device in their place. */
export type PassValues = readonly (Float32Array | Int32Array | Tensor)[];

/**
 * Stock ops and fused kernels on WebGPU from numbers of the host to numbers of the host, recorded once and run again and again: one
 * submission and one wait for all results. Runs may overlap.
 */
export class RepeatedPass {
  private readonly gpu: WebGPUBackend;
  private readonly inputs: Tensor[];
  private readonly step: RecordedStep;
  private readonly results: { buffer: GPUBuffer; bytes: number }[] = [];
  /** Where results are read, of runs that are over. */
  private readonly free: GPUBuffer[] = [];
  private isDisposed = false;

  /** Records; nothing is computed. Throws 'unsupported-feature' where the body asks for what cannot be recorded. */
  constructor({ inputs, body }: RepeatedPassSettings) {
    this.gpu = backend() as WebGPUBackend;
    this.inputs = inputs.map(({ shape, dtype }) => allocateTensor(shape, dtype));
    let results: Tensor[] = [];
    try {
      this.step = recordOps(this.gpu, () => {
        results = tidy(() => body(...this.inputs));
      });
      this.results = results.map((result) => ({ buffer: bufferOf(this.gpu, result), bytes: 4 * result.size }));
    } catch (error) {
      for (const input of this.inputs) input.dispose();
      throw error;
    } finally {
      // Their buffers stay, with the recording.
      for (const result of results) result.dispose();
    }
  }

  /** Results in the order of the body's, behind all that was asked of the backend before. */
  async run(values: PassValues): Promise<Float32Array[]> {
    if (this.isDisposed) {
      throw new KvlrError('invalid-argument', { message: 'expected a recorded pass, got one that was disposed.' });
    }
    const { gpu, results, free } = this;
    const staging = free.pop() ?? this.allocate();
    try {
      submitInOrder(gpu, (encoder) => {
        for (const [place, given] of values.entries()) this.fill(this.inputs[place]!, given, encoder);
        const pass = encoder.beginComputePass();
        this.step.encode(pass);
        pass.end();
        let start = 0;
        for (const { buffer, bytes } of results) {
          encoder.copyBufferToBuffer(buffer, 0, staging, start, bytes);
          start += bytes;
        }
      });
      await staging.mapAsync(GPUMapMode.READ);
      const mapped = staging.getMappedRange();
      let start = 0;
      const read = results.map(({ bytes }) => {
        start += bytes;
        return new Float32Array(mapped.slice(start - bytes, start));
      });
      staging.unmap();
      if (this.isDisposed) staging.destroy();
      else free.push(staging);
      return read;
    } catch (error) {
      staging.destroy();
      throw error;
    }
  }

  /** Frees its buffers, once what was submitted has run. */
  dispose(): void {
    this.isDisposed = true;
    this.step.dispose();
    for (const input of this.inputs) input.dispose();
    for (const staging of this.free.splice(0)) staging.destroy();
  }

  private fill(input: Tensor, given: PassValues[number], encoder: GPUCommandEncoder): void {
    const { gpu } = this;
    const buffer = bufferOf(gpu, input);
    if ('dataId' in given) encoder.copyBufferToBuffer(bufferOf(gpu, given), 0, buffer, 0, 4 * input.size);
    else gpu.queue.writeBuffer(buffer, 0, given.buffer, given.byteOffset, given.byteLength);
  }

  private allocate(): GPUBuffer {
    const size = this.results.reduce((sum, { bytes }) => sum + bytes, 0);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return this.gpu.device.createBuffer({ label: 'kvlr results of a recorded pass', size, usage });
  }
}
