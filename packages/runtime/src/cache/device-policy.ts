import { type DecoderShape, KvlrError, policyTokenBytes, policyTokens } from '@kvlr/core';
import { type CacheFormat, prefillAttention, rotateAndAppend } from '@kvlr/kernels';
import { keep, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import type { PolicyStore } from './policy-store.ts';
import { tensorOfRows } from './rows-tensor.ts';
import { SlotEntries } from './slot-entries.ts';

const everything = { window: 0, sinks: 0 };

/** Rotated queries of some new tokens, [tokens, 1, heads, width], of which `count` are real. */
interface SeenQueries {
  queries: Tensor;
  count: number;
}

/**
 * What a policy lets stay of one sequence, on WebGPU: entries in f16, in every slot other tokens and as many as the policy lets stay there.
 * Attention is the kernels'; between two questions to the policy new tokens come behind the others. When it is to be asked, they and their
 * queries are read back, the host's `PolicyStore` repeats their attention, asks, and what it holds from then on becomes the entries.
 */
export class DevicePolicy {
  /** Tokens of the text; those since the last question among them. */
  private tokens = 0;
  private pending = 0;
  private readonly entries: SlotEntries[];
  private readonly seen: SeenQueries[][];

  constructor(
    private readonly shape: DecoderShape,
    private readonly formats: readonly CacheFormat[],
    private readonly store: PolicyStore,
  ) {
    const { countsTokens = false } = store.cache.policy.policy;
    this.entries = formats.map((format) => new SlotEntries(format, countsTokens));
    this.seen = formats.map(() => []);
    this.upload();
  }

  /** Bytes on the device: entries with the room for new ones, and what the kernels are told of them. */
  get byteLength(): number {
    return this.entries.reduce((sum, { byteLength }) => sum + byteLength, 0);
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
    const entries = this.entries[layer]!;
    const shared = { cache: entries.words, sequences: tensorOfRows([[length, count, 0]]), ...entries.inputs };
    const { cache, sequences, slots } = shared;
    const attributes = { format, window: everything, ring: false, numAttentionHeads, headDim, tokens };
    const queries = keep(rotateAndAppend({ projected, cache, sequences, slots, rotation }, attributes));
    this.seen[layer]!.push({ queries, count });
    const longest = entries.longest + this.pending + count;
    return prefillAttention({ queries, ...shared }, { format, window: everything, longest }) as Tensor2D;
  }

  /** Counts new tokens as held, once every layer has appended them. */
  advance(count: number): void {
    this.tokens += count;
    this.pending += count;
  }

  /** Asks the policy if it is to be asked by now; with `all` the host at least learns of every token. Call after every step. */
  async settle(all = false): Promise<void> {
    if (this.pending === 0 || (this.pending < policyTokens && !all)) return;
    for (const [layer, seen] of this.seen.entries()) {
      this.store.layerOf(0, layer).attend({
        tokens: this.pending,
        queries: await this.queriesByHead(seen),
        ...(await this.entries[layer]!.readNewest(this.pending)),
      });
      for (const { queries } of seen.splice(0)) queries.dispose();
    }
    this.pending = 0;
    this.upload();
  }

  /** Makes the entries what the host's store holds, with room for as many tokens as come before the next question. */
  upload(): void {
    this.entries.forEach((entries, layer) => {
      entries.replace(this.store.layerOf(0, layer).slotRows(), this.tokens);
    });
  }

  /** Takes over what another one of the same form holds; its store is to be copied as well. */
  copyFrom(other: DevicePolicy): void {
    this.forgetQueries();
    this.tokens = other.tokens;
    this.pending = other.pending;
    other.entries.forEach((entries, layer) => {
      this.entries[layer]!.copyFrom(entries);
      this.seen[layer]!.push(...other.seen[layer]!.map(({ queries, count }) => ({ queries: queries.clone(), count })));
    });
  }

  /** Forgets everything, as its store has. */
  clear(): void {
    this.forgetQueries();
    this.tokens = 0;
    this.pending = 0;
    this.upload();
  }

  dispose(): void {
    this.forgetQueries();
    for (const entries of this.entries) entries.dispose();
  }

  private forgetQueries(): void {
    for (const seen of this.seen) for (const { queries } of seen.splice(0)) queries.dispose();
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
