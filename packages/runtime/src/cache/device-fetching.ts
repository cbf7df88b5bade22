import { type DecoderShape, fetchedPlaceBytes, KvlrError, policyTokens } from '@kvlr/core';
import type { CacheFormat } from '@kvlr/kernels';
import { concat, type Rank, type Tensor, type Tensor2D, tidy, zeros } from '@tensorflow/tfjs-core';
import { FetchedLayer } from './fetched-layer.ts';
import type { PolicyStore } from './policy-store.ts';

/**
 * One sequence on WebGPU under a policy that leaves values in host memory: keys and the values of the tokens that stay are on the device, in f16.
 * In every layer of every step the queries are read back, the host chooses chunks for each token, and their values are uploaded: a step cannot be
 * recorded, and tokens of a prompt attend one by one. The host's `PolicyStore` has landmarks, values, and a copy of the keys.
 */
export class DeviceFetching {
  /** Tokens since the policy was asked. */
  private pending = 0;
  private readonly layers: FetchedLayer[];
  /** By layer: queries of these tokens, [heads, width] each. */
  private seen: Float32Array[][];

  constructor(
    private readonly shape: DecoderShape,
    private readonly formats: readonly CacheFormat[],
    private readonly store: PolicyStore,
  ) {
    this.layers = formats.map((format) => new FetchedLayer(format));
    this.seen = formats.map(() => []);
  }

  /** Bytes on the device between steps. */
  get byteLength(): number {
    return this.layers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Bytes of the tokens that the host's store does not hold yet, as they will be counted there. */
  get pendingBytes(): number {
    return this.formats.reduce(
      (sum, { entryWords, layout }) => sum + this.pending * (4 * entryWords + fetchedPlaceBytes * layout.keySlots),
      0,
    );
  }

  /** New tokens that may come before `settle` is called. */
  get room(): number {
    return policyTokens - this.pending;
  }

  /**
   * Appends one layer's new tokens, no more than there is room for, and lets them attend: float32 [tokens, heads * valueSlotWidth], zeros behind
   * those that are real. The caller disposes it.
   */
  async attend(
    layer: number,
    projected: Tensor2D,
    rotation: Tensor,
    step: { length: number; count: number },
  ): Promise<Tensor2D> {
    const [tokens] = projected.shape;
    const { count } = step;
    const { numAttentionHeads: heads, headDim: width } = this.shape;
    const on = this.layers[layer]!;
    const policy = this.store.layerOf(0, layer);
    const queries = tidy(() => on.append({ projected, rotation }, step, { numAttentionHeads: heads, headDim: width }));
    const numbers = (await queries.data()) as Float32Array;
    const attended = tidy(() => {
      const rows = Array.from({ length: count }, (_, token) => {
        const own = numbers.slice(token * heads * width, (token + 1) * heads * width);
        this.seen[layer]!.push(own);
        return on.attend({ queries, token, reads: policy.readsOf(own) }, this.pending + token + 1);
      });
      const padding = tokens - count;
      return concat(padding > 0 ? [...rows, zeros<Rank.R2>([padding, rows[0]!.shape[1]])] : rows);
    });
    queries.dispose();
    return attended;
  }

  /** Counts new tokens as held, once every layer has appended them. */
  advance(count: number): void {
    this.pending += count;
  }

  /** Asks the policy if it is to be asked by now. Call after every step. */
  async settle(): Promise<void> {
    if (this.pending < policyTokens) return;
    for (const [layer, on] of this.layers.entries()) {
      const policy = this.store.layerOf(0, layer);
      const read = await on.readNewest(this.pending);
      policy.attend({ tokens: this.pending, queries: this.queriesByHead(layer), ...read });
      on.settle(this.pending, policy.residentValues());
      this.seen[layer] = [];
    }
    this.pending = 0;
  }

  /** Takes over what another one of the same form holds; its store is to be copied as well. */
  copyFrom(other: DeviceFetching): void {
    this.pending = other.pending;
    this.seen = other.seen.map((queries) => [...queries]);
    other.layers.forEach((layer, place) => {
      this.layers[place]!.copyFrom(layer);
    });
  }

  /** Forgets everything, as its store has. */
  clear(): void {
    this.pending = 0;
    this.seen = this.formats.map(() => []);
    this.layers.forEach((layer, place) => {
      layer.dispose();
      this.layers[place] = new FetchedLayer(this.formats[place]!);
    });
  }

  dispose(): void {
    for (const layer of this.layers) layer.dispose();
  }

  /** Queries of the tokens since the policy was asked, [heads, tokens, width]. */
  private queriesByHead(layer: number): Float32Array {
    const { numAttentionHeads: heads, headDim: width } = this.shape;
    const result = new Float32Array(heads * this.pending * width);
    this.seen[layer]!.forEach((queries, token) => {
      for (let head = 0; head < heads; head++) {
        result.set(queries.subarray(head * width, (head + 1) * width), (head * this.pending + token) * width);
      }
    });
    return result;
  }
}

/** Thrown where attention is to be computed within a step that cannot wait for the host. */
export function requireWaiting(): never {
  throw new KvlrError('unsupported-feature', {
    message: 'expected a text behind a cache for a policy that fetches values on WebGPU, got activations of a window.',
    hint: 'Generate, extend or score with it, or take wasm or cpu.',
  });
}
