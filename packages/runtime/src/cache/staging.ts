import { BLOCK_TOKENS } from '@kvlr/core';
import {
  copyEntries,
  packAdaptedBlocks,
  packBlocks,
  type SequenceRow,
  unpackAdaptedBlocks,
  unpackBlocks,
} from '@kvlr/kernels';
import { type Rank, type Tensor, type Tensor3D, zeros } from '@tensorflow/tfjs-core';
import type { KeyValueCache } from './key-value-cache.ts';
import { tensorOfRows } from './rows-tensor.ts';

/**
 * A layer's cache laid out token by token in the order of positions, with room for the new tokens of a step, which attend to it; what
 * stays of it is then put back.
 */
export interface Staging {
  /** Places of each sequence. */
  readonly places: number;
  /** `rotation` is the layer's rotation table. Call inside tf.tidy. */
  layOut(layer: number, rotation: Tensor): Tensor3D;
  putBack(layer: number, words: Tensor3D, rotation: Tensor): void;
  dispose(): void;
}

/** No place of a cache lies beyond: a ring of this length is none. */
const ENDLESS = 2 ** 30;

/** Staging of rings: a ring begins where its oldest entry is, and is wound up again. */
export function stageRing(cache: KeyValueCache, rows: readonly SequenceRow[], tokens: number): Staging {
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
  const places = window + sinks + tokens;
  return {
    places,
    layOut(layer) {
      const { entryWords } = cache.formats[layer]!.entries;
      const words = zeros<Rank.R3>([cache.batch, places, entryWords], 'int32');
      copy(cache.wordsOf(layer), words, sinksBefore, ringBefore, 'source');
      return words;
    },
    putBack(layer, words) {
      copy(words, cache.wordsOf(layer), sinksAfter, ringAfter, 'target');
    },
    dispose() {
      for (const runs of [sinksBefore, ringBefore, sinksAfter, ringAfter]) runs.dispose();
    },
  };
}

/** Runs of entries from one place of each sequence to another. */
type Moves = readonly (readonly [count: number, from: number, to: number])[];

function moveEntries(source: Tensor, target: Tensor, moves: Moves): void {
  const longest = Math.max(...moves.map(([count]) => count));
  const runs = tensorOfRows(moves);
  copyEntries({ source, target, runs }, { longest, window: ENDLESS, sinks: 0, ringSide: 'target' });
  runs.dispose();
}

/**
 * Packs the blocks that are full after a step. \`shifts\` says by how much places of \`entries\` fall behind positions; behind the first
 * exact tokens.
 */
function packFullBlocks(
  cache: KeyValueCache,
  layer: number,
  entries: Tensor3D,
  blocksAfter: readonly number[],
  shifts: readonly number[],
  rotation: Tensor,
): void {
  const counts = blocksAfter.map((after, b) => after - cache.packedBlocks[b]!);
  const longest = Math.max(...counts);
  const blocks = cache.blocksOf(layer);
  if (longest === 0 || blocks === undefined) return;
  const format = cache.formats[layer]!;
  const runs = tensorOfRows(counts.map((count, b) => [cache.packedBlocks[b]!, count, shifts[b]!]));
  const { exactFirst } = cache.settings;
  const shared = { entryFormat: format.entries, exactFirst, longest };
  if (format.blocks!.kind === 'adapted') {
    const tables = cache.tablesOf(layer)!;
    packAdaptedBlocks({ entries, blocks, runs, rotation, tables }, { format: format.blocks!, ...shared });
  } else packBlocks({ entries, blocks, runs, rotation }, { format: format.blocks!, ...shared });
  runs.dispose();
}

/** Staging of blocks: they are unpacked, new ones that are full are packed, and what is left are entries again. */
export function stageBlocks(cache: KeyValueCache, added: readonly number[], tokens: number): Staging {
  const { exactFirst } = cache.settings;
  const { lengths, packedBlocks: before, batch } = cache;
  const after = cache.blocksAfter(added);
  const places = Math.max(...lengths) + tokens;
  const behindFirst = (length: number) => Math.max(0, length - exactFirst);
  return {
    places,
    layOut(layer, rotation) {
      const { entries, blocks: format } = cache.formats[layer]!;
      const words = zeros<Rank.R3>([batch, places, entries.entryWords], 'int32');
      const own = cache.wordsOf(layer);
      moveEntries(
        own,
        words,
        lengths.map((length) => [Math.min(length, exactFirst), 0, 0]),
      );
      moveEntries(
        own,
        words,
        lengths.map((length, b) => {
          const packed = BLOCK_TOKENS * before[b]!;
          return [behindFirst(length) - packed, exactFirst, exactFirst + packed];
        }),
      );
      const blocks = cache.blocksOf(layer);
      const longest = Math.max(...before);
      if (blocks === undefined || longest === 0) return words;
      const runs = tensorOfRows(before.map((count) => [0, count, 0]));
      const shared = { entryFormat: entries, exactFirst, longest };
      if (format!.kind === 'adapted') {
        const tables = cache.tablesOf(layer)!;
        unpackAdaptedBlocks({ blocks, entries: words, runs, rotation, tables }, { format: format!, ...shared });
      } else unpackBlocks({ blocks, entries: words, runs, rotation }, { format: format!, ...shared });
      runs.dispose();
      return words;
    },
    putBack(layer, words, rotation) {
      packFullBlocks(cache, layer, words, after, Array(batch).fill(0), rotation);
      const own = cache.wordsOf(layer);
      const ends = lengths.map((length, b) => length + added[b]!);
      moveEntries(
        words,
        own,
        ends.map((length) => [Math.min(length, exactFirst), 0, 0]),
      );
      moveEntries(
        words,
        own,
        ends.map((length, b) => {
          const packed = BLOCK_TOKENS * after[b]!;
          return [behindFirst(length) - packed, exactFirst + packed, exactFirst];
        }),
      );
    },
    dispose() {},
  };
}

/** Packs the block that the newest token of a sequence has filled, if it has, and moves the entries behind it up. */
export function packNewBlocks(cache: KeyValueCache, layer: number, added: readonly number[], rotation: Tensor): void {
  const after = cache.blocksAfter(added);
  const before = cache.packedBlocks;
  if (after.every((count, b) => count === before[b]!)) return;
  const { exactFirst } = cache.settings;
  const own = cache.wordsOf(layer);
  packFullBlocks(
    cache,
    layer,
    own,
    after,
    before.map((count) => BLOCK_TOKENS * count),
    rotation,
  );
  const moves = cache.lengths.map((length, b) => {
    const left = length + added[b]! - exactFirst - BLOCK_TOKENS * after[b]!;
    return [
      after[b] === before[b] ? 0 : left,
      exactFirst + BLOCK_TOKENS * (after[b]! - before[b]!),
      exactFirst,
    ] as const;
  });
  if (moves.every(([count]) => count === 0)) return;
  // A copy in between: where the entries come from and where they go may overlap.
  const between = zeros<Rank.R3>(own.shape, 'int32');
  moveEntries(own, between, moves);
  moveEntries(
    between,
    own,
    moves.map(([count, , to]) => [count, to, to]),
  );
  between.dispose();
}
