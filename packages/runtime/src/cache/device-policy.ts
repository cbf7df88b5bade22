import { type DecoderShape, KvlrError, policyTokenBytes, policyTokens } from '@kvlr/core';
import { type CacheFormat, copyEntries, prefillAttention, rotateAndAppend } from '@kvlr/kernels';
import {
  keep,
  type Rank,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  tensor3d,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import { packHalves, unpackHalves } from './halves.ts';
import type { PolicyStore } from './policy-store.ts';
import { tensorOfRows } from './rows-tensor.ts';

const everything = { window: 0, sinks: 0 };

/** Rotated queries of some new tokens, [tokens, 1, heads, width], of which `count` are real. */
interface SeenQueries {
  queries: Tensor;
  count: number;
}

/**
 * What a policy lets stay of one sequence, on WebGPU: entries in f16, as many in every slot, other tokens in each. Attention is the kernels';
 * between two questions to the policy new tokens come behind the others. When it is to be asked, they and their queries are read back, the
 * host's `PolicyStore` repeats their attention, asks, and what it holds from then on becomes the entries.
 */
export class DevicePolicy {
  /** Tokens that each slot holds; those since the last question among them. */
  private held = 0;
  private pending = 0;
  private readonly words: Tensor3D[];
  private readonly seen: SeenQueries[][];

  constructor(
    private readonly shape: DecoderShape,
    private readonly formats: readonly CacheFormat[],
    private readonly store: PolicyStore,
  ) {
    this.words = formats.map(({ entryWords }) => zeros<Rank.R3>([1, policyTokens, entryWords], 'int32'));
    this.seen = formats.map(() => []);
  }

  /** Bytes of the entries on the device. */
  get byteLength(): number {
    return this.words.reduce((sum, { size }) => sum + 4 * size, 0);
  }

  /** Bytes of the tokens that the host's store does not hold yet, as they will be counted there. */
  get pendingBytes(): number {
    const beside = policyTokenBytes(this.store.cache.policy.policy);
    return this.formats.reduce(
      (sum, { entryWords, layout }) => sum + this.pending * (4 * entryWords + beside * layout.keySlots),
      0,
    );
  }

  /** New tokens that may come before `settle` is called. */
  get room(): number {
    return policyTokens - this.pending;
  }

  /** Appends one layer's new tokens, no more than there is room for, and lets them attend. Call inside tf.tidy. */
  attend(layer: number, projected: Tensor2D, rotation: Tensor, step: { length: number; count: number }): Tensor2D {
    const [tokens] = projected.shape;
    const format = this.formats[layer]!;
    const { numAttentionHeads, headDim } = this.shape;
    const { length, count } = step;
    if (count > this.room) {
      throw new KvlrError('unsupported-feature', {
        message: `expected at most ${this.room} tokens at once under a policy on WebGPU, got ${count}.`,
        hint: 'Generate, or score texts behind a cache, where a prompt comes in parts; whole windows run on wasm and cpu.',
        data: { count, room: this.room },
      });
    }
    const sequences = tensorOfRows([[length, count, length - this.held]]);
    const cache = this.words[layer]!;
    const attributes = { format, window: everything, ring: false, numAttentionHeads, headDim, tokens };
    const queries = keep(rotateAndAppend({ projected, cache, sequences, rotation }, attributes));
    this.seen[layer]!.push({ queries, count });
    return prefillAttention(
      { queries, cache, sequences },
      { format, window: everything, longest: this.held + count },
    ) as Tensor2D;
  }

  /** Counts new tokens as held, once every layer has appended them. */
  advance(count: number): void {
    this.held += count;
    this.pending += count;
  }

  /** Asks the policy if it is to be asked by now; with `all` the host at least learns of every token. Call after every step. */
  async settle(all = false): Promise<void> {
    if (this.pending === 0 || (this.pending < policyTokens && !all)) return;
    const from = this.held - this.pending;
    for (const [layer, seen] of this.seen.entries()) {
      const words = (await this.words[layer]!.data()) as Int32Array;
      const policy = this.store.layerOf(0, layer);
      policy.attend({
        tokens: this.pending,
        queries: await this.queriesByHead(seen),
        ...this.rowsOf(layer, words, from),
      });
      for (const { queries } of seen.splice(0)) queries.dispose();
    }
    this.pending = 0;
    this.upload();
  }

  /** Makes the entries what the host's store holds, with room for as many tokens as come before the next question. */
  upload(): void {
    this.formats.forEach(({ entryWords, keySlotWords, valueSlotWords, layout: { keySlots } }, layer) => {
      const slots = this.store.layerOf(0, layer).slotRows();
      const { keySlotWidth, valueSlotWidth } = this.formats[layer]!.layout;
      const counts = slots.map(({ keys }) => keys.length / keySlotWidth);
      this.held = counts[0]!;
      if (counts.some((count) => count !== this.held)) {
        throw new KvlrError('unsupported-feature', {
          message: `expected a policy on WebGPU by which as many tokens stay in every slot, got ${counts.join(', ')}.`,
          hint: 'Let it fill its budget, or take wasm or cpu.',
          where: { layer },
        });
      }
      const words = new Int32Array((this.held + policyTokens) * entryWords);
      slots.forEach(({ keys, values }, slot) => {
        for (let token = 0; token < this.held; token++) {
          const at = token * entryWords + slot * keySlotWords;
          packHalves(words, at, keys, token * keySlotWidth, keySlotWidth);
          const valueAt = token * entryWords + keySlots * keySlotWords + slot * valueSlotWords;
          packHalves(words, valueAt, values, token * valueSlotWidth, valueSlotWidth);
        }
      });
      this.words[layer]!.dispose();
      this.words[layer] = tensor3d(words, [1, this.held + policyTokens, entryWords], 'int32');
    });
  }

  /** Takes over what another one of the same form holds; its store is to be copied as well. */
  copyFrom(other: DevicePolicy): void {
    this.clear();
    this.held = other.held;
    this.pending = other.pending;
    other.words.forEach((words, layer) => {
      this.words[layer]!.dispose();
      this.words[layer] = tidy(() => {
        const target = zeros<Rank.R3>(words.shape, 'int32');
        const runs = tensorOfRows([[other.held, 0, 0]]);
        copyEntries({ source: words, target, runs }, { longest: other.held, window: 0, sinks: 0, ringSide: 'none' });
        return target;
      });
      this.seen[layer]!.push(...other.seen[layer]!.map(({ queries, count }) => ({ queries: queries.clone(), count })));
    });
  }

  /** Forgets everything. */
  clear(): void {
    for (const seen of this.seen) for (const { queries } of seen.splice(0)) queries.dispose();
    this.held = 0;
    this.pending = 0;
  }

  dispose(): void {
    this.clear();
    for (const words of this.words) words.dispose();
  }

  /** Keys and values of the tokens since the last question, [pending, slots * width]. */
  private rowsOf(layer: number, words: Int32Array, from: number): { keys: Float32Array; values: Float32Array } {
    const { entryWords, keySlotWords, valueSlotWords, layout } = this.formats[layer]!;
    const { keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
    const keys = new Float32Array(this.pending * keySlots * keySlotWidth);
    const values = new Float32Array(this.pending * valueSlots * valueSlotWidth);
    for (let token = 0; token < this.pending; token++) {
      const entry = (from + token) * entryWords;
      for (let slot = 0; slot < keySlots; slot++) {
        const to = (token * keySlots + slot) * keySlotWidth;
        unpackHalves(words, entry + slot * keySlotWords, keys, to, keySlotWidth);
      }
      for (let slot = 0; slot < valueSlots; slot++) {
        const at = entry + keySlots * keySlotWords + slot * valueSlotWords;
        unpackHalves(words, at, values, (token * valueSlots + slot) * valueSlotWidth, valueSlotWidth);
      }
    }
    return { keys, values };
  }

  /** Queries of the tokens since the last question, [heads, pending, width]. */
  private async queriesByHead(seen: readonly SeenQueries[]): Promise<Float32Array> {
    const { numAttentionHeads: heads, headDim: width } = this.shape;
    const result = new Float32Array(heads * this.pending * width);
    let token = 0;
    for (const { queries, count } of seen) {
      const numbers = (await queries.data()) as Float32Array;
      for (let row = 0; row < count; row++, token++) {
        for (let head = 0; head < heads; head++) {
          const from = (row * heads + head) * width;
          result.set(numbers.subarray(from, from + width), (head * this.pending + token) * width);
        }
      }
    }
    return result;
  }
}
