import { type EntryDtype, KvlrError, stockLayout } from '@kvlr/core';
import {
  allocateTensor,
  appendAndAttend,
  createCacheFormat,
  type RecordedStep,
  recordStep,
  submitInOrder,
} from '@kvlr/kernels';
import type { DecoderModel, KeyValueCache, RecordedDecoding } from '@kvlr/runtime';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
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
async function warmUp(): Promise<void> {
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

function perCall({ device, wall }: DeviceTimes, calls: number): DeviceTimes {
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

export interface AttentionTimeSettings {
  numAttentionHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  dtype: EntryDtype;
  /** Entries of each sequence, the new one included. */
  context: number;
  batch: number;
  /** Caches that are attended to in turn, so that none is read from the device's own cache memory. */
  caches: number;
  rounds: number;
}

/** One call of decode attention, with rotation and appending, over caches of pseudorandom words; and the bytes that it reads. */
export async function timeAttention(settings: AttentionTimeSettings): Promise<DeviceTimes & { bytesRead: number }> {
  const { numAttentionHeads, numKeyValueHeads, headDim, dtype, context, batch, caches, rounds } = settings;
  const gpu = backend() as WebGPUBackend;
  const format = createCacheFormat(stockLayout(numKeyValueHeads, headDim), dtype);
  const words = Array.from({ length: caches }, () => {
    const cache = allocateTensor([batch, context, format.entryWords], 'int32');
    fillOnDevice(cache);
    return cache;
  });
  const rowWidth = (numAttentionHeads + 2 * numKeyValueHeads) * headDim;
  const onDevice = (values: Tensor) => {
    gpu.uploadToGPU(values.dataId);
    return values;
  };
  const projected = onDevice(zeros([batch, rowWidth]));
  const rows = Array.from({ length: batch }, () => [context - 1, 1, 0]).flat();
  const sequences = onDevice(tensor(rows, [batch, 3], 'int32'));
  const rotation = onDevice(zeros([256 + Math.ceil(context / 256) + 1, headDim]));
  const attributes = {
    ...{ format, window: { window: 0, sinks: 0 }, ring: false },
    ...{ numAttentionHeads, headDim, tokens: 1 },
  };
  const step: RecordedStep = recordStep(gpu, () =>
    tidy(() => {
      for (const cache of words) appendAndAttend({ projected, cache, sequences, rotation }, attributes, context);
    }),
  );
  const times = await timePass((pass) => step.encode(pass), rounds);
  step.dispose();
  for (const each of [projected, sequences, rotation, ...words]) each.dispose();
  return { ...perCall(times, caches), bytesRead: 4 * batch * context * format.entryWords };
}

export interface RecordedDecodeSettings {
  context: number;
  batch: number;
  dtype: KeyValueCache['dtype'];
  /** Tokens of a lot, and lots that are timed. */
  lotTokens: number;
  lots: number;
  /** Rounds in which the dispatches of each kind, all layers' one behind another, are timed as well; 0 by default. */
  kernelRounds?: number;
}

/** Milliseconds of a token of every sequence, medians over lots. */
interface LotTimes extends DeviceTimes {
  /** Of the main thread. */
  host: number;
}

export interface RecordedDecodeTimes extends LotTimes {
  dispatchesPerStep: number;
  cacheBytes: number;
  /** A dispatch of each kind, with the number of them in a step; where `kernelRounds` asks for them. */
  kernels?: KernelTimes[];
}

interface KernelTimes extends DeviceTimes {
  kind: string;
  dispatches: number;
}

/**
 * Recorded steps of a model on WebGPU behind caches that hold pseudorandom words up to the context, without any prompt. Throws
 * 'unsupported-feature' where they cannot be recorded.
 */
export async function timeRecordedDecode(
  model: DecoderModel,
  { context, batch, dtype, lotTokens, lots, kernelRounds = 0 }: RecordedDecodeSettings,
): Promise<RecordedDecodeTimes> {
  const cache = await model.createCache({ dtype, batch, capacity: context + (lots + 3) * lotTokens });
  const decoding = await model.recordSteps(cache, {}, lotTokens);
  if (decoding === undefined) {
    cache.dispose();
    throw new KvlrError('unsupported-feature', { message: 'expected a model whose steps can be recorded.' });
  }
  try {
    cache.formats.forEach((_, layer) => void fillOnDevice(cache.wordsOf(layer)));
    cache.advance(Array.from({ length: batch }, () => Array(context).fill(0)));
    const logits = zeros<Tensor['rankType']>([batch, model.vocabSize]) as Parameters<typeof decoding.begin>[0];
    decoding.begin(logits, lotTokens);
    logits.dispose();
    decoding.start(lotTokens);
    await decoding.read();
    await decoding.read();
    await warmUp();
    return {
      ...(await timeLots(decoding, lotTokens, lots)),
      dispatchesPerStep: decoding.dispatches,
      cacheBytes: cache.usedBytes,
      ...(kernelRounds > 0 && { kernels: await timeKernels(decoding.recordedStep!, kernelRounds) }),
    };
  } finally {
    decoding.dispose();
    cache.dispose();
  }
}

/** Dispatches of one kind belong to different layers, so that none finds what it reads in the device's cache memory. */
async function timeKernels(step: RecordedStep, rounds: number): Promise<KernelTimes[]> {
  const times: KernelTimes[] = [];
  for (const [kind, dispatches] of step.kinds) {
    const all = await timePass((pass) => step.encode(pass, kind), rounds);
    times.push({ kind, dispatches, ...perCall(all, dispatches) });
  }
  return times;
}

/** Lots of tokens one after another, each begun before the one before it is read; none is under way before. */
export async function timeLots(decoding: RecordedDecoding, lotTokens: number, lots: number): Promise<LotTimes> {
  const [device, wall, host]: [number[], number[], number[]] = [[], [], []];
  const start = () => {
    decoding.start(lotTokens);
    host.push(decoding.hostMilliseconds);
  };
  let started = performance.now();
  start();
  for (let lot = 0; lot < lots; lot++) {
    if (lot + 1 < lots) start();
    await decoding.read();
    if (decoding.stepMilliseconds !== undefined) device.push(decoding.stepMilliseconds);
    wall.push((performance.now() - started) / lotTokens);
    started = performance.now();
  }
  const median = (times: number[]) => percentile(times, 0.5);
  return { device: device.length > 0 ? median(device) : undefined, wall: median(wall), host: median(host) };
}

/** Fills a tensor of words with bits that are small positive numbers in every format. */
function fillOnDevice(words: Tensor): void {
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
