import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend } from '@tensorflow/tfjs-core';

/** Turns what befalls a WebGPU device into typed errors. On other backends it lets everything pass. */
export class DeviceGuard {
  private readonly device: GPUDevice | undefined;
  private readonly debug: boolean;
  private loss: GPUDeviceLostInfo | undefined;

  /** Watches the active backend's device. `debug` checks every call for validation errors, which throw nowhere by themselves. */
  constructor(debug: boolean) {
    this.debug = debug;
    if (getBackend() !== 'webgpu') return;
    this.device = (backend() as WebGPUBackend).device;
    this.device.lost.then((info) => {
      this.loss = info;
    });
  }

  /** Throws 'device-lost' once the device is gone. */
  requireDevice(): void {
    if (this.loss !== undefined) throw lost(this.loss);
  }

  /**
   * Runs work on the device. Throws 'device-lost', and 'memory-exceeded' where the device could not allocate; with `debug` also
   * 'device-error' for a call that WebGPU found invalid.
   */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.requireDevice();
    if (this.device === undefined) return work();
    const filters: GPUErrorFilter[] = this.debug ? ['out-of-memory', 'validation'] : ['out-of-memory'];
    for (const filter of filters) this.device.pushErrorScope(filter);
    const [outcome] = await Promise.allSettled([work()]);
    const errors: Partial<Record<GPUErrorFilter, GPUError>> = {};
    for (const filter of [...filters].reverse()) {
      const error = await this.device.popErrorScope().catch(() => null);
      if (error) errors[filter] = error;
    }
    // The promise of the loss has had its turn by now.
    this.requireDevice();
    if (errors['out-of-memory']) {
      throw new KvlrError('memory-exceeded', {
        message: `expected the device to have memory left, got "${errors['out-of-memory'].message}".`,
        hint: 'Take a shorter context, a model with fewer KV heads, or a smaller dtype of cache or weights.',
      });
    }
    if (errors.validation) {
      throw new KvlrError('device-error', {
        message: `expected valid WebGPU calls, got "${errors.validation.message}".`,
      });
    }
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  }
}

function lost({ reason, message }: GPUDeviceLostInfo): KvlrError {
  return new KvlrError('device-lost', {
    message: `expected a working WebGPU device, got one that was lost (${reason}): ${message}`,
    hint: 'Load the model again, with less memory if it was that, or on wasm.',
    data: { reason },
  });
}
