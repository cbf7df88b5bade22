import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend } from '@tensorflow/tfjs-core';
import { timePass } from './device-time.ts';
import { percentile } from './statistics.ts';

/** Bytes read and written a second when a block of so many bytes is copied on the device: by a shader, 16 bytes a load, or by its own command. */
export async function timeCopy(bytes: number, rounds: number): Promise<{ byShader: number; byCommand: number }> {
  const { device } = backend() as WebGPUBackend;
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST | GPUBufferUsage.STORAGE;
  const [source, target] = [1, 2].map(() => device.createBuffer({ size: bytes, usage })) as [GPUBuffer, GPUBuffer];
  const copies = 8;
  const code = `
    @group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
    @group(0) @binding(1) var<storage, read_write> target_: array<vec4<u32>>;
    @compute @workgroup_size(256)
    fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
      let step = groups.x * 256u;
      for (var n = id.x; n < arrayLength(&source); n += 4u * step) {
        let all = arrayLength(&source) - 1u;
        let a = source[n]; let b = source[min(n + step, all)];
        let c = source[min(n + 2u * step, all)]; let d = source[min(n + 3u * step, all)];
        target_[n] = a; target_[min(n + step, all)] = b;
        target_[min(n + 2u * step, all)] = c; target_[min(n + 3u * step, all)] = d;
      }
    }`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [source, target].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const byShader = await timePass((pass) => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let n = 0; n < copies; n++) pass.dispatchWorkgroups(Math.min(8192, Math.ceil(bytes / 16384)));
  }, rounds);
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    await device.queue.onSubmittedWorkDone();
    const started = performance.now();
    const encoder = device.createCommandEncoder();
    for (let n = 0; n < copies; n++) encoder.copyBufferToBuffer(source, 0, target, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    if (round > 0) times.push(performance.now() - started);
  }
  for (const each of [source, target]) each.destroy();
  const perSecond = (milliseconds: number) => (copies * 2 * bytes * 1000) / milliseconds;
  return { byShader: perSecond(byShader.device ?? byShader.wall), byCommand: perSecond(percentile(times, 0.5)) };
}
