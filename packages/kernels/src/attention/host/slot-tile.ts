import type { CacheFormat } from '../../cache/cache-format.ts';
import type { HostCache } from '../../cache/slot-codec.ts';
import type { RowMath, Rows } from './row-math.ts';

/** Entries of a tile at most. */
export const TILE_ENTRIES = 64;

/** A tile of one slot as rows of numbers: f32 caches are read where they lie, others are decoded into `scratch` first. */
export class SlotTile {
  readonly width: number;
  private readonly math: RowMath;
  private readonly cache: HostCache;
  private readonly format: CacheFormat;
  /** Words before the part's first slot in an entry, and of a slot. */
  private readonly offset: number;
  private readonly slotWords: number;
  private readonly scratch: Float32Array;
  private start = 0;

  constructor(math: RowMath, cache: HostCache, format: CacheFormat, part: 'keys' | 'values', scratch: Float32Array) {
    const { layout, keySlotWords, valueSlotWords } = format;
    const keys = part === 'keys';
    this.math = math;
    this.cache = cache;
    this.format = format;
    this.width = keys ? layout.keySlotWidth : layout.valueSlotWidth;
    this.offset = keys ? 0 : layout.keySlots * keySlotWords;
    this.slotWords = keys ? keySlotWords : valueSlotWords;
    this.scratch = scratch;
  }

  /** Makes `count` entries from `firstEntry` on readable. */
  load(firstEntry: number, count: number, slot: number): void {
    const { entryWords, dtype } = this.format;
    this.start = firstEntry * entryWords + this.offset + slot * this.slotWords;
    if (dtype === 'f32') return;
    const { cache, start: at, width } = this;
    this.math.unpack({ cache, dtype, at, stride: entryWords, width, count }, this.scratch);
  }

  /** The entries from the n-th of the tile on. */
  rows(n: number, count: number): Rows {
    const { entryWords, dtype } = this.format;
    const { width } = this;
    if (dtype !== 'f32') return { numbers: this.scratch, at: n * width, stride: width, width, count };
    return { numbers: this.cache.floats, at: this.start + n * entryWords, stride: entryWords, width, count };
  }
}
