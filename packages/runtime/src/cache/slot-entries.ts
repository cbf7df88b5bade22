import { policyTokens } from '@kvlr/core';
import { type CacheFormat, copyEntries, formatOfSlot, type SlotRow } from '@kvlr/kernels';
import {
  type Rank,
  type Tensor,
  type Tensor1D,
  type Tensor3D,
  tensor1d,
  tensor2d,
  tensor3d,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import { packHalves, unpackEntries } from './halves.ts';
import { tensorOfRows } from './rows-tensor.ts';

/** What one slot holds, as attention reads it; `counts` says how many tokens each stands for. */
export interface SlotRows {
  keys: Float32Array;
  values: Float32Array;
  counts: Float32Array;
}

/**
 * One layer's entries of one sequence on the device, in halves, in which every slot holds as many tokens as it does: slots lie one behind the
 * other, each with room for the tokens that come before a policy is asked again.
 */
export class SlotEntries {
  /** How many entries each slot holds, those since `replace` left out. */
  private held: number[] = [];
  private rows: SlotRow[] = [];
  private tensors: { words: Tensor3D; slots: Tensor; biases: Tensor1D | undefined } | undefined;
  private readonly ofSlot: CacheFormat;

  /** @param countsTokens Whether a token may stand for several. */
  constructor(
    private readonly format: CacheFormat,
    private readonly countsTokens: boolean,
  ) {
    this.ofSlot = formatOfSlot(format);
  }

  /** Bytes on the device: entries and room for more, where slots begin, and what is added to scores. */
  get byteLength(): number {
    return this.all().reduce((sum, { size }) => sum + 4 * size, 0);
  }

  /** Entries of the slot that holds most, those since `replace` left out. */
  get longest(): number {
    return Math.max(...this.held);
  }

  /** Int32 [1, places, words of a key and a value], to be written in place. */
  get words(): Tensor3D {
    return this.tensors!.words;
  }

  /** What the kernels are told of the slots. */
  get inputs(): { slots: Tensor; biases?: Tensor } {
    const { slots, biases } = this.tensors!;
    return { slots, ...(biases && { biases }) };
  }

  /** Makes the entries these rows, of a text that has so many tokens. */
  replace(slots: readonly SlotRows[], tokens: number): void {
    const { ofSlot, countsTokens } = this;
    const { keySlotWidth, valueSlotWidth } = ofSlot.layout;
    this.held = slots.map(({ counts }) => counts.length);
    let places = 0;
    this.rows = this.held.map((count) => {
      const first = places;
      places += count + policyTokens;
      return [first, tokens - count];
    });
    const words = new Int32Array(places * ofSlot.entryWords);
    const biases = new Float32Array(countsTokens ? places : 0);
    slots.forEach(({ keys, values, counts }, slot) => {
      const [first] = this.rows[slot]!;
      counts.forEach((count, token) => {
        const at = (first + token) * ofSlot.entryWords;
        packHalves(words, at, keys, token * keySlotWidth, keySlotWidth);
        packHalves(words, at + ofSlot.keySlotWords, values, token * valueSlotWidth, valueSlotWidth);
        if (countsTokens) biases[first + token] = Math.log(count);
      });
    });
    this.dispose();
    this.tensors = {
      words: tensor3d(words, [1, places, ofSlot.entryWords], 'int32'),
      slots: tensor2d(this.rows.flat(), [this.rows.length, 2], 'int32'),
      biases: countsTokens ? tensor1d(biases) : undefined,
    };
  }

  /** Keys and values of the `count` tokens that were appended since `replace`, [count, slots * width]. */
  async readNewest(count: number): Promise<Pick<SlotRows, 'keys' | 'values'>> {
    const words = (await this.words.data()) as Int32Array;
    const placeOf = (slot: number, token: number) => this.rows[slot]![0] + this.held[slot]! + token;
    return unpackEntries(words, this.ofSlot, { slots: this.format.layout.keySlots, count, placeOf });
  }

  /** Takes over what others of the same form hold, in memory of its own. */
  copyFrom(other: SlotEntries): void {
    this.dispose();
    const { words, slots, biases } = other.tensors!;
    const places = words.shape[1];
    this.held = [...other.held];
    this.rows = [...other.rows];
    // What is written in place is not to be shared; the rest is.
    const copy = tidy(() => {
      const target = zeros<Rank.R3>(words.shape, 'int32');
      const runs = tensorOfRows([[places, 0, 0]]);
      copyEntries({ source: words, target, runs }, { longest: places, window: 0, sinks: 0, ringSide: 'none' });
      return target;
    });
    this.tensors = { words: copy, slots: slots.clone(), biases: biases?.clone() };
  }

  dispose(): void {
    for (const tensor of this.all()) tensor.dispose();
    this.tensors = undefined;
  }

  private all(): Tensor[] {
    if (this.tensors === undefined) return [];
    const { words, slots, biases } = this.tensors;
    return [words, slots, ...(biases ? [biases] : [])];
  }
}
