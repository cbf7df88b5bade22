import { type EntryDtype, stockLayout } from '@kvlr/core';
import { allocateTensor, appendAndAttend, createCacheFormat, type RecordedStep, recordStep } from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { type DeviceTimes, perCall, timePass } from './device-time.ts';
import { fillOnDevice } from './fill-on-device.ts';

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
