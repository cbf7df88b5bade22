import {
  type AppendAttributes,
  appendAndAttend,
  type CacheFormat,
  type CacheWindow,
  copyEntries,
  createCacheFormat,
  entriesOfLength,
  prefillAttention,
  readEntries,
  rotateAndAppend,
  type SequenceRow,
} from '@kvlr/kernels';
import {
  type Rank,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  tensor2d,
  zeros,
} from '@tensorflow/tfjs-core';
import { PositionTables } from '../blocks/sequence-context.ts';
import type { KeyValueCache } from './key-value-cache.ts';

/** What appending needs besides the new rows. */
interface AppendTensors {
  /** `createRotationTable` */
  rotation: Tensor;
  latentKeyEncoder?: Tensor;
  latentQueryEncoder?: Tensor;
}

/** New tokens of every sequence on their way through the layers of a model. */
export interface CacheStep {
  readonly cache: KeyValueCache;
  /** Positions of each sequence's rows, also of those beyond its new tokens. */
  readonly positions: readonly (readonly number[])[];
  /** Positions of each sequence's entries as `appendAndRead` gives them, the new ones included; -1 where there is none. */
  readonly entryPositions: readonly (readonly number[])[];
  /** Tables of these positions, for as long as the step lives. */
  readonly tables: PositionTables;
  /**
   * Appends one layer's q, k and v of the new tokens, float32 [batch * tokens, ...] side by side, and returns the attended values,
   * [batch * tokens, numAttentionHeads * valueSlotWidth]. Call inside tf.tidy, once per layer. Layouts 'stock' and 'latent'.
   */
  attend(layer: number, projected: Tensor2D, tensors: AppendTensors): Tensor2D;
  /**
   * Appends one layer's keys and values as they are and reads the cache back, for attention on stock ops: keys [batch, keySlots,
   * entries, keySlotWidth] and values [batch, valueSlots, entries, valueSlotWidth]. `projected` is [batch * tokens, ...], queries (not
   * looked at), keys as slots hold them, values. Call inside tf.tidy, once per layer.
   */
  appendAndRead(layer: number, projected: Tensor2D, rotation: Tensor): { keys: Tensor4D; values: Tensor4D };
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
  const staging = roundTheRing ? planStaging(cache, rows, tokens) : undefined;
  const ring = window.window > 0 && !staging;
  const attributes = (format: CacheFormat): AppendAttributes => ({
    format,
    window,
    ring,
    numAttentionHeads,
    headDim,
    tokens,
  });
  const entryPlaces = staging ? places + tokens : cache.capacity;
  let entryPositions: number[][] | undefined;

  return {
    cache,
    positions: held.map((length) => Array.from({ length: tokens }, (_, token) => length + token)),
    get entryPositions() {
      entryPositions ??= rows.map((row) => positionsOfEntries(row, entryPlaces, window, ring));
      return entryPositions;
    },
    tables: new PositionTables(
      headDim,
      held.map((length, b) => length + added[b]!),
    ),
    attend(layer, projected, { rotation, latentKeyEncoder: keyEncoder, latentQueryEncoder: queryEncoder }) {
      const format = cache.formats[layer]!;
      const words = staging?.layOut(layer) ?? cache.wordsOf(layer);
      const encoders = keyEncoder && queryEncoder ? { keyEncoder, queryEncoder } : {};
      const inputs = { projected, cache: words, sequences, rotation, ...encoders };
      if (tokens === 1) return appendAndAttend(inputs, attributes(format), longest) as Tensor2D;
      const queries = rotateAndAppend(inputs, attributes(format));
      const attended = prefillAttention({ queries, cache: words, sequences }, { format, window, longest });
      staging?.windUp(layer, words);
      return attended as Tensor2D;
    },
    appendAndRead(layer, projected, rotation) {
      // What is written as it comes are keys that will be rebuilt; an entry has the same words whatever its keys.
      const format = createCacheFormat({ ...cache.formats[layer]!.layout, keys: 'rebuilt' }, cache.dtype);
      const words = staging?.layOut(layer) ?? cache.wordsOf(layer);
      rotateAndAppend({ projected, cache: words, sequences, rotation }, attributes(format));
      const entries = readEntries(words, format);
      staging?.windUp(layer, words);
      return entries;
    },
    dispose() {
      sequences.dispose();
      this.tables.dispose();
      staging?.dispose();
    },
  };
}

/**
 * A step of one new token of every sequence whose positions the device knows alone, in `sequences`, int32 with a `SequenceRow` of each
 * at its beginning: for steps that are recorded. It only attends.
 */
export function recordedCacheStep(cache: KeyValueCache, sequences: Tensor): Pick<CacheStep, 'cache' | 'attend'> {
  const { window } = cache;
  const { numAttentionHeads, headDim } = cache.shape;
  // What counters are told of how much a step reads: as much as the first one.
  const longest = Math.max(...cache.lengths.map((length) => entriesOfLength(length + 1, window)));
  return {
    cache,
    attend(layer, projected, { rotation, latentKeyEncoder: keyEncoder, latentQueryEncoder: queryEncoder }) {
      const format = cache.formats[layer]!;
      const words = cache.wordsOf(layer);
      const encoders = keyEncoder && queryEncoder ? { keyEncoder, queryEncoder } : {};
      const ring = window.window > 0;
      const attributes = { format, window, ring, numAttentionHeads, headDim, tokens: 1 };
      const inputs = { projected, cache: words, sequences, rotation, ...encoders };
      return appendAndAttend(inputs, attributes, longest) as Tensor2D;
    },
  };
}

/** The position that each place of a sequence holds once its new tokens are appended; -1 for none. */
function positionsOfEntries(
  [held, added, shift]: SequenceRow,
  places: number,
  { window, sinks }: CacheWindow,
  ring: boolean,
): number[] {
  const last = held + added - 1;
  return Array.from({ length: places }, (_, place) => {
    if (place < sinks || window === 0) return place <= last ? place : -1;
    if (!ring) return place + shift <= last ? place + shift : -1;
    return place <= last ? place + window * Math.floor((last - place) / window) : -1;
  });
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
      const words = zeros<Rank.R3>([cache.batch, capacity, entryWords], 'int32');
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
