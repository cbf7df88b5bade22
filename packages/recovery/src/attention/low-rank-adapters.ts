import type { Tensor2D } from '@tensorflow/tfjs-core';

export type Projection = 'query' | 'key' | 'value' | 'output';

export const projections: readonly Projection[] = ['query', 'key', 'value', 'output'];

/** What is added to a projection, x A B: `down` is A [in, rank], `up` is B [rank, out] (LoRA, Hu et al. 2021). */
interface LowRankAdapter {
  down: Tensor2D;
  up: Tensor2D;
}

/** The adapters of one attention block. */
export type LowRankAdapters = Partial<Record<Projection, LowRankAdapter>>;
