import { BLOCK_TOKENS, hasBlocks } from '@kvlr/core';
import {
  type AppendAttributes,
  appendAndAttend,
  appendAndAttendBlocks,
  attendAndProjectAdd,
  type CacheFormat,
  type CacheWindow,
  createCacheFormat,
  entriesOfLength,
  type OutputProjection,
  prefillAttention,
  readEntries,
  rotateAndAppend,
  type SequenceRow,
} from '@kvlr/kernels';
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import { PositionTables } from '../blocks/sequence-context.ts';
import { codedAttention } from './coded-step.ts';
import type { KeyValueCache } from './key-value-cache.ts';
import { tensorOfRows } from './rows-tensor.ts';
import { packNewBlocks, stageBlocks, stageRing } from './staging.ts';

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
   * The same and the output projection behind it, float32 [batch, hiddenSize], where one token of each sequence attends to a cache of
   * entries; undefined elsewhere.
   */
  attendAndProject?:
    | ((layer: number, projected: Tensor2D, tensors: AppendTensors, output: OutputProjection) => Tensor2D)
    | undefined;
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
 * round a ring would overwrite what the first of them still see, and blocks are packed whole: such tokens attend to a copy in order,
 * which is then put back.
 */
export function beginCacheStep(cache: KeyValueCache, added: readonly number[], tokens: number): CacheStep {
  const { window } = cache;
  const { numAttentionHeads, headDim } = cache.shape;
  const held = cache.lengths;
  const places = window.window + window.sinks;
  const blocked = hasBlocks(cache.dtype);
  const roundTheRing = tokens > 1 && window.window > 0 && held.some((length, b) => length + added[b]! > places);
  const shifts = held.map((length) => (roundTheRing ? Math.max(0, length - places) : 0));
  const rows = held.map((length, b): SequenceRow => [length, added[b]!, shifts[b]!]);
  const sequences = tensorOfRows(rows);
  const ends = rows.map(([length, count, shift]) => length + count - shift);
  const longest = Math.max(...(roundTheRing ? ends : ends.map((end) => entriesOfLength(end, window))));
  const staging = roundTheRing
    ? stageRing(cache, rows, tokens)
    : blocked
      ? stageBlocks(cache, added, tokens)
      : undefined;
  const behindCodes = cache.coded && codedAttention(cache, cache.coded, added, tokens);
  const behindBlocks = blocked && tokens === 1 ? beginBehindBlocks(cache, added) : undefined;
  const ring = window.window > 0 && !staging;
  const attributes = (format: CacheFormat): AppendAttributes => ({
    format,
    window,
    ring,
    numAttentionHeads,
    headDim,
    tokens,
  });
  let entryPositions: number[][] | undefined;

  return {
    cache,
    positions: held.map((length) => Array.from({ length: tokens }, (_, token) => length + token)),
    get entryPositions() {
      const entryPlaces = staging?.places ?? cache.capacity;
      entryPositions ??= rows.map((row) => positionsOfEntries(row, entryPlaces, window, ring));
      return entryPositions;
    },
    tables: new PositionTables(
      headDim,
      held.map((length, b) => length + added[b]!),
    ),
    attendAndProject:
      tokens === 1 && !behindCodes && !behindBlocks && !staging
        ? (layer, projected, tensors, output) => {
            const inputs = { projected, cache: cache.wordsOf(layer), sequences, ...namedTensors(tensors) };
            return attendAndProjectAdd(inputs, attributes(cache.formats[layer]!.entries), longest, output) as Tensor2D;
          }
        : undefined,
    attend(layer, projected, tensors) {
      const { rotation } = tensors;
      if (behindCodes) return behindCodes.attend(layer, projected, rotation);
      const format = cache.formats[layer]!.entries;
      if (behindBlocks) return behindBlocks.attend(layer, projected, rotation, attributes(format));
      const words = staging?.layOut(layer, rotation) ?? cache.wordsOf(layer);
      const inputs = { projected, cache: words, sequences, ...namedTensors(tensors) };
      if (tokens === 1) return appendAndAttend(inputs, attributes(format), longest) as Tensor2D;
      const queries = rotateAndAppend(inputs, attributes(format));
      const attended = prefillAttention({ queries, cache: words, sequences }, { format, window, longest });
      staging?.putBack(layer, words, rotation);
      return attended as Tensor2D;
    },
    appendAndRead(layer, projected, rotation) {
      // What is written as it comes are keys that will be rebuilt; an entry has the same words whatever its keys.
      const { layout, dtype } = cache.formats[layer]!.entries;
      const format = createCacheFormat({ ...layout, keys: 'rebuilt' }, dtype);
      const words = staging?.layOut(layer, rotation) ?? cache.wordsOf(layer);
      rotateAndAppend({ projected, cache: words, sequences, rotation }, attributes(format));
      const entries = readEntries(words, format);
      staging?.putBack(layer, words, rotation);
      return entries;
    },
    dispose() {
      sequences.dispose();
      this.tables.dispose();
      staging?.dispose();
      behindBlocks?.dispose();
    },
  };
}

/** One new token of every sequence, that attends to blocks and entries where they lie. */
function beginBehindBlocks(cache: KeyValueCache, added: readonly number[]) {
  const packed = cache.packedBlocks;
  const rows = cache.lengths.map((length, b): SequenceRow => [length, added[b]!, BLOCK_TOKENS * packed[b]!]);
  const sequences = tensorOfRows(rows);
  const longestEntries = Math.max(...rows.map(([length, count, shift]) => length + count - shift));
  const longest = Math.max(...packed);
  const { exactFirst } = cache.settings;
  return {
    attend(layer: number, projected: Tensor2D, rotation: Tensor, attributes: AppendAttributes): Tensor2D {
      const inputs = { projected, cache: cache.wordsOf(layer), sequences, rotation };
      const blocks = cache.blocksOf(layer);
      const format = cache.formats[layer]!.blocks!;
      const attended =
        longest === 0 || blocks === undefined
          ? appendAndAttend(inputs, attributes, longestEntries)
          : appendAndAttendBlocks(inputs, attributes, {
              ...{ blocks, format, exactFirst, longest },
              tables: cache.tablesOf(layer),
            });
      packNewBlocks(cache, layer, added, rotation);
      return attended as Tensor2D;
    },
    dispose: () => sequences.dispose(),
  };
}

/**
 * A step of one new token of every sequence whose positions the device knows alone, in `sequences`, int32 with a `SequenceRow` of each
 * at its beginning: for steps that are recorded. It only attends and projects.
 */
export function recordedCacheStep(
  cache: KeyValueCache,
  sequences: Tensor,
): Pick<CacheStep, 'cache'> & Required<Pick<CacheStep, 'attendAndProject'>> {
  const { window } = cache;
  const { numAttentionHeads, headDim } = cache.shape;
  // What counters are told of how much a step reads: as much as the first one.
  const longest = Math.max(...cache.lengths.map((length) => entriesOfLength(length + 1, window)));
  return {
    cache,
    attendAndProject(layer, projected, tensors, output) {
      const format = cache.formats[layer]!.entries;
      const ring = window.window > 0;
      const attributes = { format, window, ring, numAttentionHeads, headDim, tokens: 1 };
      const inputs = { projected, cache: cache.wordsOf(layer), sequences, ...namedTensors(tensors) };
      return attendAndProjectAdd(inputs, attributes, longest, output) as Tensor2D;
    },
  };
}

/** Under the names that kernels have for them. */
function namedTensors({ rotation, latentKeyEncoder: keyEncoder, latentQueryEncoder: queryEncoder }: AppendTensors) {
  return { rotation, ...(keyEncoder && queryEncoder ? { keyEncoder, queryEncoder } : {}) };
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
