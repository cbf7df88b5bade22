import { submitInOrder } from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend } from '@tensorflow/tfjs-core';
import { percentile } from './statistics.ts';

/** Times of something on the active WebGPU device, in milliseconds. */
export interface DeviceTimes {
  /** On the device, median; undefined without timestamps. */
  device: number | undefined;
  /** From the submission until the device was done, median. */
  wall: number;
}

const WARM_MILLISECONDS = 300;

/** Computes until a card has left its idle clocks, which takes a few tenths of a second; not on software adapters, which have none. */
export async function warmUp(): Promise<void> {
  const { device } = backend() as WebGPUBackend;
  if (device.adapterInfo?.isFallbackAdapter || device.adapterInfo?.vendor === 'google') return;
  const code = `
    @group(0) @binding(0) var<storage, read_write> numbers: array<f32>;
    @compute @workgroup_size(256)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
      var value = f32(id.x);
      for (var n = 0; n < 4096; n++) { value = fma(value, 0.999, 0.5); }
      numbers[id.x] = value;
    }`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const buffer = device.createBuffer({ size: 4 * 256 * 1024, usage: GPUBufferUsage.STORAGE });
  const layout = pipeline.getBindGroupLayout(0);
  const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });
  const until = performance.now() + WARM_MILLISECONDS;
  while (performance.now() < until) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let n = 0; n < 64; n++) pass.dispatchWorkgroups(1024);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  }
  buffer.destroy();
}

/** The WebGPU device that is in use. */
export function activeDevice(): GPUDevice {
  return (backend() as WebGPUBackend).device;
}

/** Runs what `encode` writes into one pass and times it. */
export async function timePass(encode: (pass: GPUComputePassEncoder) => void, rounds: number): Promise<DeviceTimes> {
  const gpu = backend() as WebGPUBackend;
  const { device } = gpu;
  const timed = device.features.has('timestamp-query');
  const queries = timed ? device.createQuerySet({ type: 'timestamp', count: 2 }) : undefined;
  const resolved = device.createBuffer({ size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  const staging = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const [onDevice, wall]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    // Between the first round, which builds what is built once, and the others the card leaves its idle clocks.
    if (round === 1) await warmUp();
    await device.queue.onSubmittedWorkDone();
    const started = performance.now();
    submitInOrder(gpu, (encoder) => {
      const pass = encoder.beginComputePass(
        queries && { timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } },
      );
      encode(pass);
      pass.end();
      if (!queries) return;
      encoder.resolveQuerySet(queries, 0, 2, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16);
    });
    await device.queue.onSubmittedWorkDone();
    const milliseconds = performance.now() - started;
    let ofDevice: number | undefined;
    if (queries) {
      await staging.mapAsync(GPUMapMode.READ);
      const [begin, end] = new BigUint64Array(staging.getMappedRange()) as unknown as [bigint, bigint];
      ofDevice = Number(end - begin) / 1e6;
      staging.unmap();
    }
    if (round === 0) continue;
    wall.push(milliseconds);
    if (ofDevice !== undefined) onDevice.push(ofDevice);
  }
  for (const each of [queries, resolved, staging]) each?.destroy();
  return { device: onDevice.length > 0 ? percentile(onDevice, 0.5) : undefined, wall: percentile(wall, 0.5) };
}

export function perCall({ device, wall }: DeviceTimes, calls: number): DeviceTimes {
  return { device: device === undefined ? undefined : device / calls, wall: wall / calls };
}

/** A dispatch of a chain in which each waits for the one before: what a dispatch costs that computes nothing. */
export async function timeDispatchChain(dispatches: number, rounds: number): Promise<DeviceTimes> {
  const { device } = backend() as WebGPUBackend;
  const code = `
    @group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) { numbers[id.x] = numbers[id.x ^ 1u] + 1u; }`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const buffer = device.createBuffer({ size: 64 * 256 * 4, usage: GPUBufferUsage.STORAGE });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer } }],
  });
  const times = await timePass((pass) => {
    pass.setPipeline(pipeline);
    for (let n = 0; n < dispatches; n++) {
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(256);
    }
  }, rounds);
  buffer.destroy();
  return perCall(times, dispatches);
}
