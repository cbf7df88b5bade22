/** Eigenvalues of one layer's second moments, each list descending and >= 0, of any scale. */
export interface LayerSpectra {
  layer: number;
  /** Of the keys of all KV heads side by side before RoPE, up to KV heads x headDim values. */
  keysBeforeRope: ArrayLike<number>;
  /** Of the same keys after RoPE. */
  keysAfterRope: ArrayLike<number>;
  values: ArrayLike<number>;
}

/** The three spectra of a layer, in the order and under the names in which reports show them. */
export const spectrumKinds = [
  { kind: 'keysBeforeRope', title: 'keys before RoPE' },
  { kind: 'keysAfterRope', title: 'keys after RoPE' },
  { kind: 'values', title: 'values' },
] as const;
