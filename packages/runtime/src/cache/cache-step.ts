import {
  type AppendAttributes,
  allocateTensor,
  copyEntries,
  decodeAttention,
  entriesOfLength,
  prefillAttention,
  rotateAndAppend,
  type SequenceRow,
} from '@kvlr/kernels';
import { type Tensor, type Tensor2D, type Tensor3D, tensor2d } from '@tensorflow/tfjs-core';
import type { KeyValueCache } from './key-value-cache.ts';

/** What appending needs besides the new rows. */
export interface AppendTensors {
  /** `createRotationTable` */
  rotation: Tensor;
  latentKeyEncoder?: Tensor;
  latentQueryEncoder?: Tensor;
}

/** New tokens of every sequence on their way through the layers of a model. */
export interface CacheStep {
  /**
   * Appends one layer's q, k and v of the new tokens, float32 [batch * tokens, ...] side by side, and returns the attended values,
   * [batch * tokens, numAttentionHeads * valueSlotWidth]. Call inside tf.tidy, once per layer. Layouts 'stock' and 'latent'.
   */
  attend(layer: number, projected: Tensor2D, tensors: AppendTensors): Tensor2D;
  /** Appends only, and returns the rotated queries. For layouts that the fused attention does not serve. */
  append(layer: number, projected: Tensor2D, tensors: AppendTensors): Tensor;
  dispose(): void;
}

/**
 * Begins a step of `tokens` rows for each sequence, of which `added` are real. The cache must have room. Several tokens that go
 * round a ring would overwrite what the first of them still see: they attend to a copy in order, which is wound up again.
 */
export function beginCacheStep(cache: KeyValueCache, added: readonly number[], tokens: number): CacheStep {
  const { window } = cache;
  const { numAttentionHeads, headDim } = cache.shape;
  const held = cache.lengths;
  const places = window.window + window.sinks;
  const roundTheRing = tokens > 1 && window.window > 0 && held.some((length, b) => length + added[b]! > places);
  const shifts = held.map((length) => (roundTheRing ? Math.max(0, length - places) : 0));
  const rows = held.map((length, b): SequenceRow => [length, added[b]!, shifts[b]!]);
  const sequences = tensorOfRows(rows);
  const ends = rows.map(([length, count, shift]) => length + count - shift);
  const longest = Math.max(...(roundTheRing ? ends : ends.map((end) => entriesOfLength(end, window))));
  const attributes = (layer: number, ring: boolean): AppendAttributes => ({
    format: cache.formats[layer]!,
    window,
    ring,
    numAttentionHeads,
    headDim,
    tokens,
  });
  const appendTo = (words: Tensor3D, layer: number, ring: boolean, projected: Tensor2D, tensors: AppendTensors) => {
    const { rotation, latentKeyEncoder: keyEncoder, latentQueryEncoder: queryEncoder } = tensors;
    const encoders = keyEncoder && queryEncoder ? { keyEncoder, queryEncoder } : {};
    return rotateAndAppend({ projected, cache: words, sequences, rotation, ...encoders }, attributes(layer, ring));
  };
  const staging = roundTheRing ? planStaging(cache, rows, tokens) : undefined;

  return {
    attend(layer, projected, tensors) {
      const format = cache.formats[layer]!;
      const words = staging?.layOut(layer) ?? cache.wordsOf(layer);
      const queries = appendTo(words, layer, window.window > 0 && !staging, projected, tensors);
      const attention = tokens === 1 ? decodeAttention : prefillAttention;
      const attended = attention({ queries, cache: words, sequences }, { format, window, longest });
      staging?.windUp(layer, words);
      return attended as Tensor2D;
    },
    append: (layer, projected, tensors) => appendTo(cache.wordsOf(layer), layer, false, projected, tensors),
    dispose() {
      sequences.dispose();
      staging?.dispose();
    },
  };
}

/** Copies of rings in order of positions, with room for the new tokens. */
function planStaging(cache: KeyValueCache, rows: readonly SequenceRow[], tokens: number) {
  const { window, sinks } = cache.window;
  const clamped = (length: number) => Math.max(0, length - sinks);
  const sinksBefore = tensorOfRows(rows.map(([held]) => [Math.min(held, sinks), 0, 0]));
  const ringBefore = tensorOfRows(rows.map(([held, , shift]) => [Math.min(window, clamped(held)), sinks, shift]));
  const sinksAfter = tensorOfRows(rows.map(([held, added]) => [Math.min(held + added, sinks), 0, 0]));
  const ringAfter = tensorOfRows(
    rows.map(([held, added, shift]) => {
      const kept = Math.min(window, clamped(held + added));
      const first = held + added - kept;
      return [kept, first - shift, first - sinks];
    }),
  );
  const copy = (source: Tensor, target: Tensor, sinkRuns: Tensor, ringRuns: Tensor, ringSide: 'source' | 'target') => {
    copyEntries({ source, target, runs: sinkRuns }, { longest: sinks, window: 0, sinks: 0, ringSide: 'none' });
    copyEntries({ source, target, runs: ringRuns }, { longest: window, window, sinks, ringSide });
  };
  return {
    layOut(layer: number): Tensor3D {
      const capacity = window + sinks + tokens;
      const { entryWords } = cache.formats[layer]!;
      const words = allocateTensor([cache.batch, capacity, entryWords], 'int32') as Tensor3D;
      copy(cache.wordsOf(layer), words, sinksBefore, ringBefore, 'source');
      return words;
    },
    windUp(layer: number, words: Tensor3D): void {
      copy(words, cache.wordsOf(layer), sinksAfter, ringAfter, 'target');
    },
    dispose(): void {
      for (const runs of [sinksBefore, ringBefore, sinksAfter, ringAfter]) runs.dispose();
    },
  };
}

function tensorOfRows(rows: readonly (readonly number[])[]): Tensor2D {
  return tensor2d(rows.flat(), [rows.length, 3], 'int32');
}
