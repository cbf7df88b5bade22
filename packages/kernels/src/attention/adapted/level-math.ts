import { BLOCK_TOKENS, type CacheSide } from '@kvlr/core';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { decodeLevels } from '../../cache/adapted/adapted-codec.ts';
import type { AdaptedFormat } from '../../cache/adapted/adapted-format.ts';
import { functionsOnHeap } from '../../wasm-heap.ts';
import { expandFunction, LEVEL_BITS, levelsFunction, turnFunction } from './level-functions-wasm.ts';

/** What makes numbers of levels: means [width] and rows [width, width], a column for each channel with codes, in the tables. */
interface BasisPlace {
  tables: Float32Array;
  mean: number;
  rows: number;
  width: number;
}

/** The inner loops over the codes of one slot of one block. Numbers lie channel by channel, 32 tokens in a row. */
export interface LevelMath {
  /** What the codes stand for, in units of their deviations, [channels with codes, 32]. */
  read(
    words: Int32Array,
    at: number,
    format: AdaptedFormat,
    part: readonly [side: CacheSide, slot: number],
    levels: Float32Array,
  ): void;
  /** numbers[i] = mean[i] + sum of rows[i, c] * levels[c], [width, 32]. */
  expand(levels: Float32Array, channels: number, basis: BasisPlace, numbers: Float32Array): void;
  /** Rotates token n of channels j and j + half by cosine and sine n of `turns`, [half, 2, 32], in place. */
  turn(numbers: Float32Array, turns: Float32Array, half: number): void;
}

/** The loops in plain JavaScript. */
export const plainLevelMath: LevelMath = {
  read: decodeLevels,
  expand(levels, channels, { tables, mean, rows, width }, numbers) {
    for (let i = 0; i < width; i++) {
      const to = i * BLOCK_TOKENS;
      numbers.fill(tables[mean + i]!, to, to + BLOCK_TOKENS);
      for (let c = 0; c < channels; c++) {
        const factor = tables[rows + i * width + c]!;
        for (let n = 0; n < BLOCK_TOKENS; n++) numbers[to + n]! += factor * levels[c * BLOCK_TOKENS + n]!;
      }
    }
  },
  turn(numbers, turns, half) {
    for (let j = 0; j < half; j++) {
      for (let n = 0; n < BLOCK_TOKENS; n++) {
        const [first, second] = [j * BLOCK_TOKENS + n, (j + half) * BLOCK_TOKENS + n];
        const [u, v] = [numbers[first]!, numbers[second]!];
        const [cosine, sine] = [turns[2 * j * BLOCK_TOKENS + n]!, turns[(2 * j + 1) * BLOCK_TOKENS + n]!];
        numbers[first] = u * cosine - v * sine;
        numbers[second] = v * cosine + u * sine;
      }
    }
  },
};

const functionsOf = functionsOnHeap<`levels_${number}` | 'expand' | 'turn'>(() => [
  ...LEVEL_BITS.map(levelsFunction),
  expandFunction(),
  turnFunction(),
]);

/** With vectors on the heap of the wasm backend; plain loops where the engine has none. */
export function vectorLevelMath(backend: BackendWasm): LevelMath {
  const functions = functionsOf(backend);
  if (functions === undefined) return plainLevelMath;
  return {
    read(words, at, { runs }, [side, slot], levels) {
      for (const { bits, first, count, at: word } of runs[side][slot]!) {
        functions[`levels_${bits}`]!(words.byteOffset + 4 * (at + word), levels.byteOffset + 128 * first, count);
      }
    },
    expand(levels, channels, { tables, mean, rows, width }, numbers) {
      const [means, basis] = [tables.byteOffset + 4 * mean, tables.byteOffset + 4 * rows];
      // Without codes the loop still runs once: over a column of zeros.
      functions.expand(
        levels.byteOffset,
        basis,
        means,
        numbers.byteOffset,
        Math.max(1, channels),
        width / 2,
        4 * width,
      );
    },
    turn(numbers, turns, half) {
      functions.turn(numbers.byteOffset, numbers.byteOffset + 128 * half, turns.byteOffset, half);
    },
  };
}
