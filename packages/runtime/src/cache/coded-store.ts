import {
  type CacheSide,
  type CodedCache,
  codedTokens,
  type DecoderShape,
  halfTable,
  type SideCodec,
  slotsOfSide,
  toHalf,
} from '@kvlr/core';
import type { CacheStatistics } from './cache-settings.ts';

const sides: readonly CacheSide[] = ['keys', 'values'];

/** What sequences hold of every layer in the codes of a `CacheCodec`, on the host. */
export class CodedStore {
  readonly cache: CodedCache;
  /** By sequence, then layer. */
  private readonly rows: Record<CacheSide, CodedRows>[][];

  constructor({ layers }: DecoderShape, cache: CodedCache, batch: number, statistics: CacheStatistics | undefined) {
    this.cache = cache;
    const codecs = layers.map(({ cache: layout }, layer) => {
      const create = (side: CacheSide) => {
        const slots = slotsOfSide(layout, side);
        return {
          codec: cache.codec[side].create({ ...slots, layer, side, statistics: statistics?.[layer]?.[side] }),
          width: slots.slots * slots.width,
        };
      };
      return { keys: create('keys'), values: create('values') };
    });
    this.rows = Array.from({ length: batch }, () =>
      codecs.map(({ keys, values }) => ({
        keys: new CodedRows(cache, 'keys', keys),
        values: new CodedRows(cache, 'values', values),
      })),
    );
  }

  /** One layer of one sequence. */
  rowsOf(sequence: number, layer: number): Record<CacheSide, CodedRows> {
    return this.rows[sequence]![layer]!;
  }

  /** Bytes of what is held, exactly: core's `codedCacheBytes` of the sequences. */
  get byteLength(): number {
    const all = this.rows.flat();
    return all.reduce((sum, layer) => sum + sides.reduce((of, side) => of + layer[side].byteLength, 0), 0);
  }

  clear(): void {
    for (const layer of this.rows.flat()) for (const side of sides) layer[side].clear();
  }

  /** Takes over what a store of the same form holds. */
  copyFrom({ rows }: CodedStore): void {
    rows.forEach((layers, sequence) => {
      layers.forEach((layer, place) => {
        for (const side of sides) this.rows[sequence]![place]![side].copyFrom(layer[side]);
      });
    });
  }
}

/** One side of one layer of one sequence: first exact tokens, codes, and the tokens that are not coded yet; exact ones are halves. */
class CodedRows {
  private first = new Uint16Array(0);
  private coded: Uint8Array = new Uint8Array(0);
  private tail = new Uint16Array(0);
  private codedCount = 0;

  constructor(
    private readonly cache: CodedCache,
    private readonly side: CacheSide,
    private readonly of: { codec: SideCodec; width: number },
  ) {}

  get tokens(): number {
    return (this.first.length + this.tail.length) / this.of.width + this.codedCount;
  }

  get byteLength(): number {
    return this.first.byteLength + this.coded.byteLength + this.tail.byteLength;
  }

  /** Adds rows [tokens, width]; what is to be coded by then is coded. */
  append(rows: Float32Array): void {
    const { width, codec } = this.of;
    const toFirst = Math.min(rows.length, this.cache.first * width - this.first.length);
    this.first = joined(Uint16Array, this.first, halvesOf(rows.subarray(0, toFirst)));
    const waiting = joined(Float32Array, floatsOf(this.tail), rows.subarray(toFirst));
    const tokens = (this.first.length + waiting.length) / width + this.codedCount;
    const count = codedTokens(this.cache.codec[this.side], this.cache, tokens) - this.codedCount;
    if (count > 0) {
      this.coded = joined<Uint8Array>(Uint8Array, this.coded, codec.encode(waiting.subarray(0, count * width), count));
      this.codedCount += count;
    }
    this.tail = halvesOf(waiting.subarray(Math.max(0, count) * width));
  }

  /** All rows as they can be had back, [tokens, width]. */
  read(): Float32Array {
    const { codec } = this.of;
    const coded = this.codedCount === 0 ? new Float32Array(0) : codec.decode(this.coded, this.codedCount);
    return joined(Float32Array, joined(Float32Array, floatsOf(this.first), coded), floatsOf(this.tail));
  }

  clear(): void {
    this.first = new Uint16Array(0);
    this.coded = new Uint8Array(0);
    this.tail = new Uint16Array(0);
    this.codedCount = 0;
  }

  copyFrom({ first, coded, tail, codedCount }: CodedRows): void {
    Object.assign(this, { first: first.slice(), coded: coded.slice(), tail: tail.slice(), codedCount });
  }
}

type Numbers = Uint8Array | Uint16Array | Float32Array;

function joined<Array extends Numbers>(kind: new (length: number) => Array, before: Array, after: Array): Array {
  const result = new kind(before.length + after.length);
  result.set(before);
  result.set(after, before.length);
  return result;
}

function halvesOf(rows: Float32Array): Uint16Array<ArrayBuffer> {
  return Uint16Array.from(rows, toHalf);
}

function floatsOf(halves: Uint16Array): Float32Array {
  const table = halfTable();
  return Float32Array.from(halves, (half) => table[half]!);
}
