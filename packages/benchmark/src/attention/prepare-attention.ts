import { createNormalRandom } from '@kvlr/core';
import { allocateTensor, type CacheFormat, decodeAttention } from '@kvlr/kernels';
import { type Tensor, type Tensor3D, tensor, tidy } from '@tensorflow/tfjs-core';
import { fillWords } from '../decoder/fill-words.ts';

export interface AttentionSubject {
  /** Milliseconds of one call, from so many in a row. */
  run(calls: number): Promise<number>;
  readonly bytesRead: number;
  dispose(): void;
}

export interface AttentionSettings {
  format: CacheFormat;
  numAttentionHeads: number;
  headDim: number;
  /** Entries in the cache, the new token's included. */
  context: number;
}

/** One layer's decode attention over a cache of random entries on the active backend. */
export function prepareAttention({ format, numAttentionHeads, headDim, context }: AttentionSettings): AttentionSubject {
  const cache = allocateTensor([1, context, format.entryWords], 'int32') as Tensor3D;
  fillWords(cache, format, context, 1);
  const normal = createNormalRandom(2);
  const numbers = Float32Array.from({ length: numAttentionHeads * headDim }, () => normal() / Math.sqrt(headDim));
  const queries = tensor(numbers, [1, 1, numAttentionHeads, headDim]);
  const sequences = tensor([context - 1, 1, 0], [1, 3], 'int32');
  const attributes = { format, window: { window: 0, sinks: 0 }, longest: context };
  return {
    bytesRead: 4 * context * format.entryWords,
    async run(calls) {
      const started = performance.now();
      let last: Tensor | undefined;
      for (let call = 0; call < calls; call++) {
        last?.dispose();
        last = tidy(() => decodeAttention({ queries, cache, sequences }, attributes));
      }
      // Reading the last result waits for all calls, since a GPU runs them in order.
      await last!.data();
      last!.dispose();
      return (performance.now() - started) / calls;
    },
    dispose() {
      for (const each of [cache, queries, sequences]) each.dispose();
    },
  };
}
