import { submitInOrder } from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, type Tensor } from '@tensorflow/tfjs-core';

/** Fills a tensor of words with bits that are small positive numbers in every format. */
export function fillOnDevice(words: Tensor): void {
  const gpu = backend() as WebGPUBackend;
  const { device } = gpu;
  gpu.uploadToGPU(words.dataId);
  const buffer = gpu.tensorMap.get(words.dataId).resource as GPUBuffer;
  const code = `
    @group(0) @binding(0) var<storage, read_write> words: array<u32>;
    @compute @workgroup_size(256)
    fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
      for (var n = id.x; n < arrayLength(&words); n += groups.x * 256u) {
        words[n] = 0x2c002c00u | ((n * 0x9e3779b9u) & 0x03ff03ffu);
      }
    }`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const layout = pipeline.getBindGroupLayout(0);
  const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });
  submitInOrder(gpu, (encoder) => {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(4096);
    pass.end();
  });
}
