import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { env, type TensorInfo } from '@tensorflow/tfjs-core';
import { countDispatch } from '../fused-kernel.ts';
import { bufferOf, forgetValues } from '../tensors.ts';
import { bindGroupOf, makeBindGroup, pipelineOf } from './pipelines.ts';
import type { GpuProgram, GpuUniform, GpuWrite } from './program.ts';
import { type Recording, recordingOf } from './recorded-step.ts';

/**
 * The private fields of tfjs-backend-webgpu 4.22.0 on which `runProgram` rests (backend_webgpu.js, recordAndSubmit): its
 * command encoder, what waits for the submission of that encoder, and the pool of uniform buffers.
 */
interface BackendInternals {
  commandEncoder: GPUCommandEncoder;
  computePassEncoder: GPUComputePassEncoder | null;
  commandQueueOwnedIds: WeakSet<object>;
  dispatchCountInPass: number;
  uniformPendingDisposal: GPUBuffer[];
}

/**
 * Runs one compute program in the pass that tfjs itself is recording, so that it stays in order with stock ops, and
 * returns the written tensors. Pipelines and bind groups are kept: runWebGPUProgram builds a bind group and several
 * strings per call, which costs more than a small dispatch.
 *
 * A tensor given to be written in place keeps its reference count: a kernel that returns it calls `incRef` itself.
 */
export function runProgram(gpu: WebGPUBackend, program: GpuProgram): TensorInfo[] {
  const recording = recordingOf(gpu);
  if (recording) return recordProgram(gpu, program, recording);
  const internals = gpu as unknown as BackendInternals;
  const outputs = program.writes.map((write) => outputOf(gpu, write));
  const pipeline = pipelineOf(gpu.device, program);
  const tensors = [...program.reads.map((read) => read.tensor), ...outputs];
  const buffers = tensors.map((tensor) => bufferOf(gpu, tensor));
  if (program.uniforms && program.uniforms.length > 0) {
    const uniforms = fillUniforms(gpu, program.uniforms);
    internals.uniformPendingDisposal.push(uniforms);
    buffers.push(uniforms);
  }
  for (const { dataId } of tensors) internals.commandQueueOwnedIds.add(dataId);
  gpu.ensureCommandEncoderReady();
  internals.computePassEncoder ??= internals.commandEncoder.beginComputePass();
  const [x, y = 1, z = 1] = program.workgroups;
  internals.computePassEncoder.setPipeline(pipeline.compute);
  internals.computePassEncoder.setBindGroup(0, bindGroupOf(gpu.device, pipeline, buffers));
  internals.computePassEncoder.dispatchWorkgroups(x, y, z);
  countDispatch();
  internals.dispatchCountInPass++;
  if (internals.dispatchCountInPass >= env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')) {
    gpu.endComputePassEncoder();
    gpu.submitQueue();
  }
  return outputs;
}

/** Adds one compute program to a step that is being recorded. */
function recordProgram(gpu: WebGPUBackend, program: GpuProgram, recording: Recording): TensorInfo[] {
  const outputs = program.writes.map((write) =>
    'tensor' in write ? write.tensor : gpu.makeTensorInfo(write.shape, write.dtype),
  );
  const pipeline = pipelineOf(gpu.device, program);
  const buffers = [...program.reads.map((read) => read.tensor), ...outputs].map((tensor) => recording.bufferOf(tensor));
  const { name, uniforms = [], workgroups } = program;
  if (uniforms.length > 0) buffers.push(recording.uniforms(bytesOfUniforms(uniforms)));
  const group = makeBindGroup(gpu.device, pipeline, buffers);
  recording.add({ name, pipeline: pipeline.compute, group, workgroups });
  countDispatch();
  return outputs;
}

function outputOf(gpu: WebGPUBackend, write: GpuWrite): TensorInfo {
  if (!('tensor' in write)) return gpu.makeTensorInfo(write.shape, write.dtype);
  gpu.uploadToGPU(write.tensor.dataId);
  forgetValues(gpu, write.tensor);
  return write.tensor;
}

/**
 * A buffer of tfjs's pool with these numbers. writeBuffer jumps the queue of recorded dispatches, so that a buffer may be
 * filled again only after they have been submitted; the pool sees to that.
 */
function fillUniforms(gpu: WebGPUBackend, uniforms: readonly GpuUniform[]): GPUBuffer {
  const bytes = bytesOfUniforms(uniforms);
  const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.UNIFORM;
  const buffer = gpu.bufferManager.acquireBuffer(bytes.byteLength, usage);
  gpu.queue.writeBuffer(buffer, 0, bytes);
  return buffer;
}

function bytesOfUniforms(uniforms: readonly GpuUniform[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(Math.ceil((uniforms.length * 4) / 16) * 16));
  uniforms.forEach(({ type, value }, index) => {
    if (type === 'f32') view.setFloat32(index * 4, value, true);
    else if (type === 'i32') view.setInt32(index * 4, value, true);
    else view.setUint32(index * 4, value, true);
  });
  return view.buffer;
}
