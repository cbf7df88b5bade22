import checkpoints from './goldens.json' with { type: 'json' };

/** config.json, and names and shapes of the tensors, of a tiny checkpoint that transformers wrote. */
export interface Golden {
  config: Record<string, unknown>;
  tensors: Record<string, number[]>;
  /** True for a family that kvlr refuses. */
  refused?: boolean;
}

export const goldens = checkpoints as unknown as Record<string, Golden>;
