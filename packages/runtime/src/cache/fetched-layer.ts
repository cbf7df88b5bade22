import type { SlotReads } from '@kvlr/cache';
import { policyTokens } from '@kvlr/core';
import {
  type CacheFormat,
  copyRows,
  formatOfSlot,
  prefillAttention,
  rotateAndAppend,
  type SlotRow,
} from '@kvlr/kernels';
import { type Rank, slice, type Tensor, type Tensor2D, tensor2d, tidy, zeros } from '@tensorflow/tfjs-core';
import { packHalves, unpackEntries } from './halves.ts';
import { tensorOfRows } from './rows-tensor.ts';

const everything = { window: 0, sinks: 0 };
/** Tokens by which the room for keys grows. */
const pageTokens = 256;

/** Tokens whose values stay on the device, of one slot, and these values, [places, width]. */
interface ResidentValues {
  places: Int32Array;
  values: Float32Array;
}

/** A token that attends: the queries of its step, its place in it, and what it reads beside the newest tokens. */
interface AttendingToken {
  queries: Tensor;
  token: number;
  reads: readonly SlotReads[];
}

/**
 * One layer of one sequence on the device under a policy that leaves values in host memory, in halves: all keys, values of the tokens that stay,
 * and keys and values of the tokens since the policy was asked.
 */
export class FetchedLayer {
  /** Tokens that there were when the policy was last asked. */
  private settled = 0;
  /** Rows token * slots + slot. */
  private keys: Tensor2D;
  private residentValues: Tensor2D;
  /** By slot: tokens whose values are there, and their rows. */
  private residentRows: Map<number, number>[];
  /** Rows slot * 32 + token since the policy was asked. */
  private newest: Tensor;
  private slots: Tensor2D;
  private readonly ofSlot: CacheFormat;
  private readonly slotCount: number;

  constructor(private readonly format: CacheFormat) {
    this.ofSlot = formatOfSlot(format);
    this.slotCount = format.layout.keySlots;
    this.residentRows = Array.from({ length: this.slotCount }, () => new Map());
    this.keys = this.rowsOf(pageTokens * this.slotCount, this.ofSlot.keySlotWords);
    this.residentValues = this.rowsOf(1, this.ofSlot.valueSlotWords);
    this.newest = zeros<Rank.R3>([1, policyTokens * this.slotCount, this.ofSlot.entryWords], 'int32');
    this.slots = this.slotTensor();
  }

  get byteLength(): number {
    return 4 * this.all().reduce((sum, { size }) => sum + size, 0);
  }

  /** Appends new tokens, and returns their queries, [tokens, 1, heads, width]. Call inside tf.tidy. */
  append(
    inputs: { projected: Tensor2D; rotation: Tensor },
    step: { length: number; count: number },
    heads: { numAttentionHeads: number; headDim: number },
  ): Tensor {
    const sequences = tensorOfRows([[step.length, step.count, 0]]);
    const [tokens] = inputs.projected.shape;
    const attributes = { format: this.format, window: everything, ring: false, ...heads, tokens };
    return rotateAndAppend({ ...inputs, cache: this.newest, sequences, slots: this.slots }, attributes);
  }

  /** Attention of one token over what it reads and the newest tokens up to it, [1, heads * valueSlotWidth]. Call inside tf.tidy. */
  attend({ queries, token, reads }: AttendingToken, newest: number): Tensor2D {
    const { slotCount, ofSlot } = this;
    const { keySlotWords, valueSlotWords, entryWords, layout } = ofSlot;
    const counts = reads.map(({ resident, fetched }) => resident.length + fetched.length + newest);
    const places = counts.reduce((sum, count) => sum + count, 0);
    const fetchedCount = reads.reduce((sum, { fetched }) => sum + fetched.length, 0);
    const fetchedWords = new Int32Array(fetchedCount * valueSlotWords);
    const [ofKeys, ofResident, ofFetched, ofNewest]: number[][][] = [[], [], [], []];
    const slotRows: SlotRow[] = [];
    let place = 0;
    reads.forEach(({ resident, fetched, values }, slot) => {
      slotRows.push([place, places + 1 - counts[slot]!]);
      for (const read of resident) {
        ofKeys!.push([read * slotCount + slot, place]);
        ofResident!.push([this.residentRows[slot]!.get(read)!, place++]);
      }
      fetched.forEach((read, i) => {
        ofKeys!.push([read * slotCount + slot, place]);
        const row = ofFetched!.length;
        packHalves(fetchedWords, row * valueSlotWords, values, i * layout.valueSlotWidth, layout.valueSlotWidth);
        ofFetched!.push([row, place++]);
      });
      for (let i = 0; i < newest; i++) ofNewest!.push([slot * policyTokens + i, place++]);
    });
    const cache = zeros<Rank.R3>([1, places, entryWords], 'int32');
    const copy = (source: Tensor, rows: number[][], words: number, targetAt = 0) => {
      copyRows({ source, target: cache, rows: pairs(rows) }, { words, targetAt });
    };
    copy(this.keys, ofKeys!, keySlotWords);
    copy(this.residentValues, ofResident!, valueSlotWords, keySlotWords);
    if (fetchedCount > 0) {
      copy(tensor2d(fetchedWords, [fetchedCount, valueSlotWords], 'int32'), ofFetched!, valueSlotWords, keySlotWords);
    }
    copy(this.newest, ofNewest!, entryWords);
    const [, variants, heads, width] = queries.shape as [number, number, number, number];
    const own = slice(queries, [token, 0, 0, 0], [1, variants, heads, width]);
    return prefillAttention(
      { queries: own, cache, sequences: tensorOfRows([[places, 1, 0]]), slots: pairs(slotRows) },
      { format: this.format, window: everything, longest: Math.max(...counts) },
    ) as Tensor2D;
  }

  /** Keys and values of the first `count` newest tokens, [count, slots * width]. */
  async readNewest(count: number): Promise<{ keys: Float32Array; values: Float32Array }> {
    const words = (await this.newest.data()) as Int32Array;
    const placeOf = (slot: number, token: number) => slot * policyTokens + token;
    return unpackEntries(words, this.ofSlot, { slots: this.slotCount, count, placeOf });
  }

  /** Moves the keys of `count` newest tokens behind the others, and takes over the values that stay. */
  settle(count: number, resident: readonly ResidentValues[]): void {
    const { slotCount, ofSlot } = this;
    const { keySlotWords, valueSlotWords, layout } = ofSlot;
    this.reserve((this.settled + count) * slotCount);
    const moved = Array.from({ length: count * slotCount }, (_, row) => [
      (row % slotCount) * policyTokens + Math.floor(row / slotCount),
      this.settled * slotCount + row,
    ]);
    tidy(() => {
      copyRows({ source: this.newest, target: this.keys, rows: pairs(moved) }, { words: keySlotWords });
    });
    this.settled += count;
    const rows = resident.reduce((sum, { places }) => sum + places.length, 0);
    const words = new Int32Array(Math.max(1, rows) * valueSlotWords);
    let row = 0;
    this.residentRows = resident.map(({ places, values }) => {
      const ofSlotRows = new Map<number, number>();
      places.forEach((place, i) => {
        packHalves(words, row * valueSlotWords, values, i * layout.valueSlotWidth, layout.valueSlotWidth);
        ofSlotRows.set(place, row++);
      });
      return ofSlotRows;
    });
    this.residentValues.dispose();
    this.residentValues = tensor2d(words, [Math.max(1, rows), valueSlotWords], 'int32');
    this.slots.dispose();
    this.slots = this.slotTensor();
  }

  /** Takes over what another one of the same form holds, in memory of its own. */
  copyFrom(other: FetchedLayer): void {
    this.dispose();
    this.settled = other.settled;
    this.residentRows = other.residentRows;
    this.keys = copyOf(other.keys);
    this.newest = copyOf(other.newest);
    // These are never written in place.
    this.residentValues = other.residentValues.clone();
    this.slots = other.slots.clone();
  }

  dispose(): void {
    for (const tensor of this.all()) tensor.dispose();
  }

  private all(): Tensor[] {
    return [this.keys, this.residentValues, this.newest, this.slots];
  }

  private reserve(rows: number): void {
    const { keys } = this;
    if (rows <= keys.shape[0]) return;
    const page = pageTokens * this.slotCount;
    this.keys = tidy(() => {
      const grown = this.rowsOf(Math.ceil(rows / page) * page, keys.shape[1]);
      copyRows({ source: keys, target: grown, rows: sameRows(keys.shape[0]) }, { words: keys.shape[1] });
      return grown;
    });
    keys.dispose();
  }

  private rowsOf(rows: number, words: number): Tensor2D {
    return zeros<Rank.R2>([rows, words], 'int32');
  }

  private slotTensor(): Tensor2D {
    return pairs(Array.from({ length: this.slotCount }, (_, slot) => [slot * policyTokens, this.settled]));
  }
}

function copyOf<Kind extends Tensor>(tensor: Kind): Kind {
  const words = tensor.shape.at(-1)!;
  return tidy(() => {
    const copy = zeros(tensor.shape, 'int32');
    copyRows({ source: tensor, target: copy, rows: sameRows(tensor.size / words) }, { words });
    return copy as Kind;
  });
}

const sameRows = (count: number): Tensor2D => pairs(Array.from({ length: count }, (_, row) => [row, row]));

function pairs(rows: readonly (readonly number[])[]): Tensor2D {
  return tensor2d(Int32Array.from(rows.flat()), [rows.length, 2], 'int32');
}
