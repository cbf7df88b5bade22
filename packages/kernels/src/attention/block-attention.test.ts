import { fitSide } from '@kvlr/cache';
import { type AdaptedDtype, adaptedBitsOf, createNormalRandom, fullBlocks, stockLayout } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { decodeAdaptedSlot } from '../cache/adapted/adapted-codec.ts';
import { type AdaptedFormat, createAdaptedFormat } from '../cache/adapted/adapted-format.ts';
import { packAdaptedBlocks, unpackAdaptedBlocks } from '../cache/adapted/move-adapted.ts';
import { decodeBlockKeys, decodeBlockValues } from '../cache/blocks/block-codec.ts';
import { type BlockBits, type BlockFormat, createBlockFormat } from '../cache/blocks/block-format.ts';
import { packBlocks } from '../cache/blocks/pack-blocks.ts';
import { unpackBlocks } from '../cache/blocks/unpack-blocks.ts';
import { type CacheFormat, createCacheFormat } from '../cache/cache-format.ts';
import { createRotationTable } from '../cache/rotation-table.ts';
import { encodeSlot, viewCache } from '../cache/slot-codec.ts';
import { decodedEntry } from '../testing/oracles.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { appendAndAttendBlocks } from './block-attention.ts';

interface Case {
  bits: BlockBits | AdaptedDtype;
  heads: number;
  slots: number;
  width: number;
  exactFirst: number;
  exactWindow: number;
  /** Tokens that each sequence holds. */
  held: number[];
}

const cases: Record<string, Case> = {
  'four bits, a head each': { bits: 4, heads: 2, slots: 2, width: 64, exactFirst: 0, exactWindow: 0, held: [300, 70] },
  'three bits, groups, exact tokens': {
    bits: 3,
    heads: 6,
    slots: 2,
    width: 24,
    exactFirst: 4,
    exactWindow: 20,
    held: [199],
  },
  'two bits, one KV head': {
    bits: 2,
    heads: 8,
    slots: 1,
    width: 128,
    exactFirst: 3,
    exactWindow: 33,
    held: [100, 330],
  },
  'heads of ten': { bits: 4, heads: 2, slots: 1, width: 10, exactFirst: 1, exactWindow: 0, held: [97] },
  'fitted, up to eight bits': {
    bits: 'klt-4',
    heads: 4,
    slots: 2,
    width: 32,
    exactFirst: 0,
    exactWindow: 0,
    held: [300, 70],
  },
  'fitted, few bits, exact tokens': {
    bits: 'klt-1.5',
    heads: 6,
    slots: 2,
    width: 24,
    exactFirst: 4,
    exactWindow: 20,
    held: [199],
  },
  'fitted, heads of ten': {
    bits: 'klt-3',
    heads: 2,
    slots: 1,
    width: 10,
    exactFirst: 1,
    exactWindow: 0,
    held: [97],
  },
  'fitted, wide, one KV head': {
    bits: 'klt-2',
    heads: 4,
    slots: 1,
    width: 128,
    exactFirst: 3,
    exactWindow: 33,
    held: [100, 230],
  },
  'heads of 256': { bits: 4, heads: 8, slots: 1, width: 256, exactFirst: 0, exactWindow: 5, held: [101] },
};

/** Relative errors that codes of so many bits may leave. Fitted ones leave out what counts for little. */
const stepsOf: Record<string | number, number> = {
  ...{ 4: 0.16, 3: 0.35, 2: 0.8 },
  ...{ 'klt-4': 0.5, 'klt-3': 0.9, 'klt-2': 1, 'klt-1.5': 1.1 },
};

/** With a factor as in YaRN: each row of a table has its root. */
const factor = 1.3;

function frequenciesOf(width: number): Float64Array {
  return Float64Array.from({ length: width / 2 }, (_, j) => 100 ** ((-2 * j) / width));
}

function rotated(row: ArrayLike<number>, start: number, width: number, position: number, sign = 1): number[] {
  const half = width / 2;
  const frequencies = frequenciesOf(width);
  return Array.from({ length: width }, (_, c) => {
    const angle = sign * position * frequencies[c % half]!;
    const other = row[start + ((c + half) % width)]!;
    return row[start + c]! * Math.cos(angle) + (c < half ? -other : other) * Math.sin(angle);
  });
}

/** Bases for what `makeCache` draws, with directions of little variance and of little weight. */
function fittedFormat({ slots, width }: Case, dtype: AdaptedDtype): AdaptedFormat {
  const fit = (side: 'keys' | 'values') => {
    const normal = createNormalRandom(side === 'keys' ? 11 : 13);
    const spread = (least: number) => {
      const matrix = new Float64Array(slots * width * width);
      for (let slot = 0; slot < slots; slot++) {
        const factor = Float64Array.from({ length: width * width }, () => normal() / Math.sqrt(width));
        for (let i = 0; i < width; i++) {
          for (let j = 0; j < width; j++) {
            let sum = i === j ? least : 0;
            for (let k = 0; k < width / 2; k++) sum += factor[i * width + k]! * factor[j * width + k]!;
            matrix[(slot * width + i) * width + j] = sum;
          }
        }
      }
      return matrix;
    };
    const mean = Float64Array.from({ length: slots * width }, () => 0.1 * normal());
    const statistics = { mean, covariance: spread(0.3), errorWeight: spread(0.05) };
    return fitSide({ slots, width, layer: 0, side, statistics }, adaptedBitsOf(dtype)!);
  };
  return createAdaptedFormat(stockLayout(slots, width), dtype, { keys: fit('keys'), values: fit('values') });
}

/** A cache whose tokens are entries at first, and its blocks once they are packed. */
function makeCache(given: Case) {
  const { bits, slots, width, exactFirst, exactWindow, held } = given;
  const layout = stockLayout(slots, width);
  const format = typeof bits === 'number' ? createBlockFormat(layout, bits) : fittedFormat(given, bits);
  const entryFormat = createCacheFormat(layout, 'f16');
  const normal = createNormalRandom(3);
  const longest = Math.max(...held);
  const words = new Int32Array(held.length * (longest + 1) * entryFormat.entryWords);
  for (let place = 0; place < held.length * (longest + 1); place++) {
    for (let slot = 0; slot < 2 * slots; slot++) {
      // Keys have a channel of outliers.
      const numbers = Float32Array.from({ length: width }, (_, c) => normal() * (slot < slots && c === 1 ? 6 : 1));
      const at = place * entryFormat.entryWords + slot * entryFormat.keySlotWords;
      encodeSlot(viewCache(words), at, 'f16', numbers, 0, width);
    }
  }
  const blockCounts = held.map((tokens) =>
    fullBlocks({ dtype: typeof bits === 'number' ? `channel-${bits}` : bits, exactFirst, exactWindow }, tokens),
  );
  const places = Math.max(...blockCounts);
  const table = createRotationTable(frequenciesOf(width), 400).map((value) => Math.sqrt(factor) * value);
  const rotation = tensor(table, [table.length / width, width]);
  const entries = tensor(words, [held.length, longest + 1, entryFormat.entryWords], 'int32');
  const blocks = zeros([held.length, places, format.blockWords], 'int32');
  const runs = (rows: number[][]) => tensor(rows.flat(), [held.length, 3], 'int32');
  const tables = format.kind === 'adapted' ? tensor(format.tables, [format.tables.length], 'int32') : undefined;
  return { format, entryFormat, blockCounts, places, rotation, entries, blocks, runs, tables };
}

interface DecodedToken {
  keys: ArrayLike<number>;
  values: ArrayLike<number>;
}

/** What blocks and entries hold of a sequence, as rotated keys, and values. */
function tokensOf(
  given: Case,
  { format, entryFormat }: { format: BlockFormat | AdaptedFormat; entryFormat: CacheFormat },
  words: { blocks: Int32Array; entries: Int32Array },
  sequence: { blockStart: number; entryStart: number; blocks: number; length: number },
): DecodedToken[] {
  const { slots, width, exactFirst } = given;
  const decoded = Array.from({ length: sequence.blocks }, (_, block) =>
    Array.from({ length: slots }, (_, slot) => {
      const at = (sequence.blockStart + block) * format.blockWords;
      const [keys, values] = [new Float32Array(32 * width), new Float32Array(32 * width)];
      if (format.kind === 'adapted') {
        decodeAdaptedSlot(words.blocks, at, format, ['keys', slot], keys);
        decodeAdaptedSlot(words.blocks, at, format, ['values', slot], values);
      } else {
        decodeBlockKeys(words.blocks, at + slot * format.slotWords, format, keys);
        decodeBlockValues(words.blocks, at + slot * format.slotWords, format, values);
      }
      return { keys, values };
    }),
  );
  return Array.from({ length: sequence.length }, (_, position) => {
    const block = Math.floor((position - exactFirst) / 32);
    const shift = position < exactFirst ? 0 : 32 * sequence.blocks;
    if (position < exactFirst || block >= sequence.blocks) {
      const start = (sequence.entryStart + position - shift) * entryFormat.entryWords;
      return decodedEntry(words.entries, entryFormat, start);
    }
    const row = ((position - exactFirst) % 32) * width;
    return {
      keys: decoded[block]!.flatMap(({ keys }) => rotated(keys, row, width, position).map((x) => factor * x)),
      values: decoded[block]!.flatMap(({ values }) => Array.from(values.subarray(row, row + width))),
    };
  });
}

/** Attention of one query row in Float64. */
function oracle({ heads, slots, width }: Case, query: number[][], tokens: DecodedToken[]): number[] {
  return Array.from({ length: heads }, (_, h) => {
    const start = Math.floor((h * slots) / heads) * width;
    const scores = tokens.map(({ keys }) =>
      query[h]!.reduce((sum, q, c) => sum + (q * keys[start + c]!) / Math.sqrt(width), 0),
    );
    const highest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - highest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return Array.from({ length: width }, (_, c) =>
      tokens.reduce((sum, { values }, n) => sum + (weights[n]! / total) * values[start + c]!, 0),
    );
  }).flat();
}

const wordsOf = async (given: Tensor) => Int32Array.from(await given.data<'int32'>());

describe.each(await testedBackends())('blocks on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(Object.entries(cases))(
    '%s: packed, unpacked, and attended to by a new token',
    async (_, given) => {
      await useBackend(backend);
      const before = memory().numTensors;
      await withoutGpuErrors(async () => {
        const { heads, slots, width, exactFirst, held } = given;
        const cache = makeCache(given);
        const { format, entryFormat, blockCounts, places, rotation, entries, blocks, runs, tables } = cache;
        const shared = { entryFormat, exactFirst, longest: places };
        const packRuns = runs(blockCounts.map((count) => [0, count, 0]));
        if (format.kind === 'channel') {
          packBlocks({ entries, blocks, runs: packRuns, rotation }, { format, ...shared });
        } else {
          packAdaptedBlocks({ entries, blocks, runs: packRuns, rotation, tables: tables! }, { format, ...shared });
        }
        const source = await wordsOf(entries);
        const capacity = entries.shape[1]!;
        const blockWords = await wordsOf(blocks);

        // Unpacked, they are what they were, within the steps of the codes.
        const unpacked = zeros(entries.shape, 'int32');
        const unpacking = { blocks, entries: unpacked, runs: packRuns, rotation };
        if (format.kind === 'channel') unpackBlocks(unpacking, { format, ...shared });
        else unpackAdaptedBlocks({ ...unpacking, tables: tables! }, { format, ...shared });
        const unpackedWords = await wordsOf(unpacked);
        const steps = stepsOf[given.bits]!;
        for (const position of [exactFirst, exactFirst + 31 + 32 * (blockCounts[0]! - 1)]) {
          const [original, again] = [source, unpackedWords].map((words) =>
            decodedEntry(words, entryFormat, position * entryFormat.entryWords),
          );
          const difference = (side: 'keys' | 'values') =>
            Math.sqrt(
              original![side].reduce((sum, value, c) => sum + (value - again![side][c]!) ** 2, 0) /
                original![side].reduce((sum, value) => sum + value ** 2, 0),
            );
          expect(difference('keys')).toBeLessThan(steps);
          expect(difference('values')).toBeLessThan(steps);
        }

        // What is in blocks leaves the entries: the others move up.
        const moved = new Int32Array(source.length);
        held.forEach((tokens, b) => {
          for (let position = 0; position < tokens; position++) {
            const place = position < exactFirst ? position : position - 32 * blockCounts[b]!;
            if (place < exactFirst && position >= exactFirst) continue;
            const [from, to] = [b * capacity + position, b * capacity + place];
            const { entryWords } = entryFormat;
            moved.set(source.subarray(from * entryWords, (from + 1) * entryWords), to * entryWords);
          }
        });
        const rest = tensor(moved, entries.shape as [number, number, number], 'int32');
        const sequences = runs(held.map((tokens, b) => [tokens, 1, 32 * blockCounts[b]!]));
        const normal = createNormalRandom(7);
        const rowWidth = (heads + 2 * slots) * width;
        const rows = Float32Array.from({ length: held.length * rowWidth }, () => normal());
        const projected = tensor(rows, [held.length, rowWidth]);
        const attended = tidy(() =>
          appendAndAttendBlocks(
            { projected, cache: rest, sequences, rotation },
            {
              ...{ format: entryFormat, window: { window: 0, sinks: 0 }, ring: false },
              ...{ numAttentionHeads: heads, headDim: width, tokens: 1 },
            },
            { blocks, format, exactFirst, longest: places, tables },
          ),
        );
        const received = await attended.data<'float32'>();
        const restWords = await wordsOf(rest);
        held.forEach((tokens, b) => {
          const words = { blocks: blockWords, entries: restWords };
          const sequence = {
            ...{ blockStart: b * places, entryStart: b * capacity, blocks: blockCounts[b]!, length: tokens + 1 },
          };
          const query = Array.from({ length: heads }, (_, h) =>
            rotated(rows, b * rowWidth + h * width, width, tokens).map((x) => factor * x),
          );
          const expected = oracle(given, query, tokensOf(given, cache, words, sequence));
          expect(
            differenceByRange(received.subarray(b * heads * width, (b + 1) * heads * width), expected),
          ).toBeLessThan(1e-4);
        });
        for (const each of [packRuns, unpacked, rest, sequences, projected, attended, entries, blocks, rotation]) {
          each.dispose();
        }
        tables?.dispose();
      });
      expect(memory().numTensors).toBe(before);
    },
  );
});
