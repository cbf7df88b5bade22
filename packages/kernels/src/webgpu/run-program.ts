import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { env, type TensorInfo } from '@tensorflow/tfjs-core';
import { countDispatch } from '../register/kernel-counters.ts';
import { bufferOf, internalsOf } from './backend-internals.ts';
import { cachedBindGroup } from './bind-group-cache.ts';
import type { GpuProgram, GpuUniform, GpuWrite } from './gpu-program.ts';
import { pipelineKey, shaderSource } from './shader-source.ts';

const pipelines = new WeakMap<GPUDevice, Map<string, GPUComputePipeline>>();

/**
 * Runs one compute program in the pass that tfjs itself is recording, so that it stays in order with stock ops, and
 * returns the written tensors. Pipelines and bind groups are kept: runWebGPUProgram builds a bind group and several
 * strings per call, which costs more than a small dispatch.
 *
 * A tensor given to be written in place keeps its reference count: a kernel that returns it calls `incRef` itself.
 */
export function runProgram(gpu: WebGPUBackend, program: GpuProgram): TensorInfo[] {
  const outputs = program.writes.map((write) => outputOf(gpu, write));
  const pipeline = cachedPipeline(gpu, program);
  const tensors = [...program.reads.map((read) => read.tensor), ...outputs];
  const buffers = tensors.map((tensor) => bufferOf(gpu, tensor));
  if (program.uniforms && program.uniforms.length > 0) buffers.push(fillUniforms(gpu, program.uniforms));
  const internals = internalsOf(gpu);
  for (const { dataId } of tensors) internals.commandQueueOwnedIds.add(dataId);
  gpu.ensureCommandEncoderReady();
  internals.computePassEncoder ??= internals.commandEncoder.beginComputePass();
  const [x, y = 1, z = 1] = program.workgroups;
  internals.computePassEncoder.setPipeline(pipeline);
  internals.computePassEncoder.setBindGroup(0, cachedBindGroup(gpu.device, pipeline, buffers));
  internals.computePassEncoder.dispatchWorkgroups(x, y, z);
  countDispatch();
  internals.dispatchCountInPass++;
  if (internals.dispatchCountInPass >= env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')) {
    gpu.endComputePassEncoder();
    gpu.submitQueue();
  }
  return outputs;
}

function outputOf(gpu: WebGPUBackend, write: GpuWrite): TensorInfo {
  if (!('tensor' in write)) return gpu.makeTensorInfo(write.shape, write.dtype);
  gpu.uploadToGPU(write.tensor.dataId);
  // Values that were read back before are stale from now on; without them tfjs reads the buffer.
  Object.assign(gpu.tensorMap.get(write.tensor.dataId), { values: null });
  return write.tensor;
}

function cachedPipeline(gpu: WebGPUBackend, program: GpuProgram): GPUComputePipeline {
  let known = pipelines.get(gpu.device);
  if (known === undefined) {
    known = new Map();
    pipelines.set(gpu.device, known);
  }
  const key = pipelineKey(program);
  let pipeline = known.get(key);
  if (pipeline === undefined) {
    const label = `kvlr_${program.name}`;
    const module = gpu.device.createShaderModule({ code: shaderSource(program), label });
    pipeline = gpu.device.createComputePipeline({ compute: { module, entryPoint: 'main' }, label, layout: 'auto' });
    known.set(key, pipeline);
  }
  return pipeline;
}

/**
 * A buffer of tfjs's pool with these numbers. writeBuffer jumps the queue of recorded dispatches, so that a buffer may be
 * filled again only after they have been submitted; the pool sees to that.
 */
function fillUniforms(gpu: WebGPUBackend, uniforms: GpuUniform[]): GPUBuffer {
  const bytes = Math.ceil((uniforms.length * 4) / 16) * 16;
  const view = new DataView(new ArrayBuffer(bytes));
  uniforms.forEach(({ type, value }, index) => {
    if (type === 'f32') view.setFloat32(index * 4, value, true);
    else if (type === 'i32') view.setInt32(index * 4, value, true);
    else view.setUint32(index * 4, value, true);
  });
  const buffer = gpu.bufferManager.acquireBuffer(bytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.UNIFORM);
  gpu.queue.writeBuffer(buffer, 0, view.buffer, 0, bytes);
  internalsOf(gpu).uniformPendingDisposal.push(buffer);
  return buffer;
}
