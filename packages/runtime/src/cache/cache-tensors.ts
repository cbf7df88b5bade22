import { copyEntries } from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor3D, tensor, tensor2d, tidy, zeros } from '@tensorflow/tfjs-core';

/** Words of a layer of one kind. */
export interface CachePart {
  /** int32 [batch, places, words of a place] */
  words: Tensor3D;
  /** Places of each sequence that are taken. */
  counts: readonly number[];
}

/** What one layer holds. */
export interface LayerTensors {
  entries: CacheTensor;
  blocks: CacheTensor | undefined;
}

export function disposeLayer({ entries, blocks }: LayerTensors): void {
  entries.dispose();
  blocks?.dispose();
}

/** Copies the places that are taken. */
export function copyPlaces({ words, counts }: CachePart, target: Tensor3D): void {
  tidy(() => {
    const runs = tensor2d(
      counts.flatMap((count) => [count, 0, 0]),
      [counts.length, 3],
      'int32',
    );
    copyEntries(
      { source: words, target, runs },
      { longest: Math.max(...counts), window: 0, sinks: 0, ringSide: 'none' },
    );
  });
}

/** Words [batch, places, words of a place], zeros at first, with what frees them. */
interface CacheTensor {
  readonly words: Tensor3D;
  dispose(): void;
}

/**
 * Allocates the words of a cache. On WebGPU the buffer is the cache's own: tfjs keeps every buffer that it has made for later
 * tensors of the same size, so that a cache that grows would leave all its former sizes behind.
 */
export function allocateCacheTensor(batch: number, places: number, placeWords: number): CacheTensor {
  const shape: [number, number, number] = [batch, places, placeWords];
  if (getBackend() !== 'webgpu') {
    const words = zeros(shape, 'int32') as Tensor3D;
    return { words, dispose: () => words.dispose() };
  }
  const gpu = backend() as WebGPUBackend;
  const buffer = gpu.device.createBuffer({
    label: 'kvlr cache',
    size: 4 * batch * places * placeWords,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const words = tensor({ buffer, zeroCopy: true }, shape, 'int32') as Tensor3D;
  return {
    words,
    dispose() {
      words.dispose();
      // Recorded dispatches may still read it.
      gpu.ensureCommandEncoderReady();
      gpu.endComputePassEncoder();
      gpu.submitQueue();
      buffer.destroy();
    },
  };
}
