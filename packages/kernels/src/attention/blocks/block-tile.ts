import { BLOCK_TOKENS } from '@kvlr/core';
import { decodeBlockKeys, decodeBlockLevels, gainOf } from '../../cache/blocks/block-codec.ts';
import { type BlockFormat, valueLevels } from '../../cache/blocks/block-format.ts';
import type { ValueTile } from '../attention-host.ts';
import { plainRowMath, type Rows } from '../row-math.ts';

/** One slot of one block, to be read by the query heads that share it. Its values stay rotated (see `hadamard`). */
export interface BlockTile extends ValueTile {
  /** Takes the slot that begins at word `at`, of the block-th block of a sequence. */
  load(at: number, block: number): void;
  /** scores[n] = query . key n, rotated, for the 32 tokens. The query begins at `from`, and is rotated and scaled. */
  score(queries: Float32Array, from: number, scores: Float32Array): void;
}

/** What tiles need of a step. */
export interface BlockTileSettings {
  format: BlockFormat;
  /** All words of the blocks. */
  words: Int32Array;
  /** Cosines, then sines, of the first position of each block, [blocks, width]. */
  starts: Float32Array;
  /** Cosines of 0 to 31 positions, then their sines, for each frequency, [width / 2, 2, 32]. */
  turns: Float32Array;
}

/** A tile in plain JavaScript: it decodes the slot, rotates its keys, and does as with any rows. */
export class PlainBlockTile implements BlockTile {
  readonly width: number;
  private readonly settings: BlockTileSettings;
  private readonly keys: Rows;
  private readonly levels: Rows;
  private readonly unit: number;
  private readonly weights = new Float32Array(BLOCK_TOKENS);
  private at = 0;

  constructor(settings: BlockTileSettings) {
    const { width, bits } = settings.format;
    const rows = (): Rows => ({
      ...{ numbers: new Float32Array(BLOCK_TOKENS * width), at: 0, stride: width, width, count: BLOCK_TOKENS },
    });
    this.settings = settings;
    this.width = width;
    this.keys = rows();
    this.levels = rows();
    this.unit = valueLevels(bits).unit;
  }

  load(at: number, block: number): void {
    const { format, words, starts, turns } = this.settings;
    const half = this.width / 2;
    const { numbers } = this.keys;
    this.at = at;
    decodeBlockKeys(words, at, format, numbers);
    decodeBlockLevels(words, at, format, this.levels.numbers);
    for (let j = 0; j < half; j++) {
      const cosineOfStart = starts[block * this.width + j]!;
      const sineOfStart = starts[block * this.width + half + j]!;
      for (let n = 0; n < BLOCK_TOKENS; n++) {
        const [turnCosine, turnSine] = [turns[64 * j + n]!, turns[64 * j + 32 + n]!];
        const cosine = cosineOfStart * turnCosine - sineOfStart * turnSine;
        const sine = cosineOfStart * turnSine + sineOfStart * turnCosine;
        const place = n * this.width + j;
        const [first, second] = [numbers[place]!, numbers[place + half]!];
        numbers[place] = first * cosine - second * sine;
        numbers[place + half] = second * cosine + first * sine;
      }
    }
  }

  score(queries: Float32Array, from: number, scores: Float32Array): void {
    plainRowMath.score(queries, from, this.keys, scores, 0);
  }

  add(weights: Float32Array, _first: number, _end: number, result: Float32Array, at: number): void {
    const { format, words } = this.settings;
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      this.weights[n] = weights[n]! * gainOf(words, this.at, format, n) * this.unit;
    }
    plainRowMath.add(this.weights, 0, this.levels, result, at);
  }
}
