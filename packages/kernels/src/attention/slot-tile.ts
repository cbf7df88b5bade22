import type { CacheFormat } from '../cache/cache-format.ts';
import { decodeSlot, type HostCache } from '../cache/slot-codec.ts';

/** Entries of a tile at most. */
export const TILE_ENTRIES = 64;

/** A tile of one slot as numbers on the host: f32 caches are read where they lie, others are decoded first. */
export class SlotTile {
  readonly numbers: Float32Array;
  readonly width: number;
  private readonly cache: HostCache;
  private readonly format: CacheFormat;
  /** Words before the part's first slot in an entry, and of a slot. */
  private readonly offset: number;
  private readonly slotWords: number;
  private readonly stride: number;
  private start = 0;

  constructor(cache: HostCache, format: CacheFormat, part: 'keys' | 'values') {
    const { layout, keySlotWords, valueSlotWords, dtype, entryWords } = format;
    const keys = part === 'keys';
    this.cache = cache;
    this.format = format;
    this.width = keys ? layout.keySlotWidth : layout.valueSlotWidth;
    this.offset = keys ? 0 : layout.keySlots * keySlotWords;
    this.slotWords = keys ? keySlotWords : valueSlotWords;
    this.numbers = dtype === 'f32' ? cache.floats : new Float32Array(TILE_ENTRIES * this.width);
    this.stride = dtype === 'f32' ? entryWords : this.width;
  }

  /** Makes `count` entries from `firstEntry` on readable. */
  load(firstEntry: number, count: number, slot: number): void {
    const { entryWords, dtype } = this.format;
    const first = firstEntry * entryWords + this.offset + slot * this.slotWords;
    if (dtype === 'f32') {
      this.start = first;
      return;
    }
    for (let n = 0; n < count; n++) {
      decodeSlot(this.cache, first + n * entryWords, dtype, this.numbers, n * this.width, this.width);
    }
  }

  /** Where in `numbers` the n-th entry of the tile begins. */
  at(n: number): number {
    return this.start + n * this.stride;
  }
}
