import {
  gatedFeedForward,
  PackedMatrix,
  projectAdd,
  type RecordedStep,
  recordStep,
  type WeightFormat,
} from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { type DeviceTimes, perCall, timePass } from './device-time.ts';
import { fillOnDevice } from './fill-on-device.ts';

export interface ProductTimeSettings {
  format: WeightFormat;
  /** Of the matrix; of a gated pair of both together. */
  rows: number;
  columns: number;
  tokens: number;
  /** A gated pair behind a norm in the place of a matrix whose result is added to a stream. */
  gated: boolean;
  /** Bytes of the matrices that are multiplied in turn, at least, so that none is read from the device's own cache memory. */
  leastBytes: number;
  rounds: number;
}

/** One product of packed weights that hold pseudorandom bits with a few tokens; and the bytes of the matrix. */
export async function timeProduct(settings: ProductTimeSettings): Promise<DeviceTimes & { bytesRead: number }> {
  const { format, rows, columns, tokens, gated, leastBytes, rounds } = settings;
  const gpu = backend() as WebGPUBackend;
  const sizes = { format, rows: gated ? rows / 2 : rows, columns };
  const createMatrix = () => {
    const matrix = new PackedMatrix(sizes);
    for (const { words, scales } of matrix.shards) {
      fillOnDevice(words);
      if (scales) fillOnDevice(scales);
    }
    return matrix;
  };
  const createMatrices = () => Array.from({ length: gated ? 2 : 1 }, createMatrix);
  const first = createMatrices();
  const bytesRead = first.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const all = [first, ...Array.from({ length: Math.ceil(leastBytes / bytesRead) - 1 }, createMatrices)];
  const onDevice = <Kind extends Tensor>(values: Kind): Kind => {
    gpu.uploadToGPU(values.dataId);
    return values;
  };
  const x = onDevice(zeros([tokens, columns]));
  const weight = onDevice(zeros([columns]));
  const residual = onDevice(zeros([tokens, sizes.rows]));
  const step: RecordedStep = recordStep(gpu, () =>
    tidy(() => {
      for (const [matrix, up] of all) {
        if (up) gatedFeedForward(x, { weight, epsilon: 1e-5 }, { gate: matrix!, up, activation: 'silu' });
        else projectAdd(x, matrix!, residual);
      }
    }),
  );
  const times = await timePass((pass) => step.encode(pass), rounds);
  step.dispose();
  for (const each of [x, weight, residual, ...all.flat()]) each.dispose();
  return { ...perCall(times, all.length), bytesRead };
}
