import { type PolicyCache, PolicyLayer } from '@kvlr/cache';
import type { DecoderShape } from '@kvlr/core';

/** What sequences hold of every layer under a policy, on the host. */
export class PolicyStore {
  readonly cache: PolicyCache;
  /** By sequence, then layer. */
  private layers: PolicyLayer[][];

  constructor(
    private readonly shape: DecoderShape,
    cache: PolicyCache,
    private readonly batch: number,
  ) {
    this.cache = cache;
    this.layers = this.allocate();
  }

  /** One layer of one sequence. */
  layerOf(sequence: number, layer: number): PolicyLayer {
    return this.layers[sequence]![layer]!;
  }

  /** Bytes of what is held, exactly: core's `codedCacheBytes` of the sequences. */
  get byteLength(): number {
    return this.layers.flat().reduce((sum, layer) => sum + layer.byteLength, 0);
  }

  /** Bytes in host memory beside them, of a policy that fetches values: core's `hostCacheBytes`. */
  get hostByteLength(): number {
    return this.layers.flat().reduce((sum, layer) => sum + layer.hostByteLength, 0);
  }

  /** Bytes of all that is in host memory, whatever a device would hold of it. */
  get storedByteLength(): number {
    return this.layers.flat().reduce((sum, layer) => sum + layer.storedByteLength, 0);
  }

  clear(): void {
    this.layers = this.allocate();
  }

  /** Whether its policy is asked by `settle` alone, once a text has been read again. */
  get readsAgain(): boolean {
    return this.cache.policy.policy.readsAgain === true;
  }

  /** Notes from now on the greatest attention that tokens held now have. */
  watch(): void {
    for (const layer of this.layers.flat()) layer.watch();
  }

  /** What was noted since `watch`: by sequence, layer, slot. */
  watched(): Float32Array[][][] {
    return this.layers.map((of) => of.map((layer) => layer.watched()));
  }

  /** Asks the policy in every layer. */
  settle(greatest: readonly Float32Array[][][]): void {
    this.layers.forEach((of, sequence) => {
      of.forEach((layer, place) => {
        layer.settle(greatest[sequence]![place]!);
      });
    });
  }

  /** Takes over what a store of the same form holds. */
  copyFrom({ layers }: PolicyStore): void {
    layers.forEach((of, sequence) => {
      of.forEach((layer, place) => {
        this.layers[sequence]![place]!.copyFrom(layer);
      });
    });
  }

  private allocate(): PolicyLayer[][] {
    const { layers, numAttentionHeads: heads } = this.shape;
    return Array.from({ length: this.batch }, () =>
      layers.map(({ cache: { keySlots: slots, keySlotWidth: keyWidth, valueSlotWidth: valueWidth } }, layer) => {
        return new PolicyLayer({ layer, heads, slots, keyWidth, valueWidth }, this.cache);
      }),
    );
  }
}
