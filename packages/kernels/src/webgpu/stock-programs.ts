import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { DataId, TensorInfo } from '@tensorflow/tfjs-core';

/** The private fields of tfjs-backend-webgpu 4.22.0 on which `withStockPrograms` rests (backend_webgpu.js). */
interface BackendInternals {
  recordAndSubmit(program: object, output: TensorInfo, inputs: TensorInfo[], uniforms?: object[]): void;
}

/** Where stock programs go in the place of the device. */
interface StockRecording {
  /** Whether a tensor was made by what is recorded. */
  owns(dataId: DataId): boolean;
  bufferOf(tensor: { dataId: DataId }): GPUBuffer;
  emptyUniforms(size: number): GPUBuffer;
  add(dispatch: {
    name: string;
    pipeline: GPUComputePipeline;
    group: GPUBindGroup;
    workgroups: readonly [x: number, y: number, z: number];
  }): void;
}

/** What runs now, or waits for the device, instead of being recorded. */
const refused = ['read', 'readSync', 'readToGPU', 'copyBuffer', 'createTensorFromGPUData'] as const;

/**
 * Runs `body` with tfjs's stock programs going to a recording instead of the device. tfjs chooses and compiles them as always; its
 * results, constants and uniforms get buffers of the recording. Throws 'unsupported-feature' where `body` reads or copies values that
 * lie on the device.
 */
export function withStockPrograms(gpu: WebGPUBackend, recording: StockRecording, body: () => void): void {
  const { recordAndSubmit } = Object.getPrototypeOf(gpu) as BackendInternals;
  const uploadToGPU = gpu.uploadToGPU.bind(gpu);
  const recorder = recorderOf(gpu, recording);
  const hooks: Record<string, unknown> = {
    recordAndSubmit(...given: Parameters<typeof recordAndSubmit>) {
      recordAndSubmit.apply(recorder.begin(given[0]), given);
    },
    uploadToGPU(dataId: DataId) {
      // What there was before stays tfjs's.
      if (recording.owns(dataId)) recording.bufferOf({ dataId });
      else uploadToGPU(dataId);
    },
  };
  for (const name of refused) {
    const original = gpu[name] as (...given: unknown[]) => unknown;
    hooks[name] = (dataId: DataId, ...rest: unknown[]) => {
      const values = gpu.tensorMap.has(dataId) && gpu.tensorMap.get(dataId).values;
      if (values && name.startsWith('read')) return original.call(gpu, dataId, ...rest);
      throw new KvlrError('unsupported-feature', {
        message: `expected nothing but operations while a step is recorded, got a call of ${name}.`,
      });
    };
  }
  const before = Object.keys(hooks).map((name) => [name, Object.getOwnPropertyDescriptor(gpu, name)] as const);
  Object.assign(gpu, hooks);
  try {
    body();
  } finally {
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(gpu, name, descriptor);
      else delete (gpu as unknown as Record<string, unknown>)[name];
    }
  }
}

/** The backend as `recordAndSubmit` sees it: its pass adds to the recording, its pool makes uniforms of the recording. */
function recorderOf(gpu: WebGPUBackend, recording: StockRecording): { begin(program: object): object } {
  let name = '';
  let pipeline: GPUComputePipeline;
  let group: GPUBindGroup;
  const computePassEncoder = {
    setPipeline(given: GPUComputePipeline) {
      pipeline = given;
    },
    setBindGroup(_: number, given: GPUBindGroup) {
      group = given;
    },
    dispatchWorkgroups(x: number, y: number, z: number) {
      recording.add({ name, pipeline, group, workgroups: [x, y, z] });
    },
  };
  const stood = {
    computePassEncoder,
    bufferManager: { acquireBuffer: (size: number) => recording.emptyUniforms(size) },
    ensureCommandEncoderReady() {},
    endComputePassEncoder() {},
    submitQueue() {},
  };
  return {
    begin(program) {
      name = program.constructor.name;
      // Nothing waits for a submission: what the body frees is free at once.
      const ofCall = { uniformPendingDisposal: [], commandQueueOwnedIds: new WeakSet(), dispatchCountInPass: 0 };
      return Object.assign(Object.create(gpu), stood, ofCall);
    },
  };
}
