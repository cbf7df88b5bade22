/** What a safetensors header may claim before it is believed. */
export const safetensorsLimits = {
  /** The bound of the format's reference reader. */
  headerBytes: 100_000_000,
  tensorCount: 100_000,
  dimensions: 8,
} as const;
