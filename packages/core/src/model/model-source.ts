import type { DecoderShape } from './decoder-shape.ts';
import type { TensorRole } from './decoder-tensors.ts';
import type { TensorSource } from './tensors.ts';
import type { Tokenizer } from './tokenizer.ts';

/** What a runtime needs to run a model: its numbers, its tensors, and how they are named. */
export interface ModelSource {
  /** A content hash of config and tensors, stable across copies of the same model. */
  readonly id: string;
  readonly shape: DecoderShape;
  readonly tensors: TensorSource;
  /** Name of the tensor in this role, for per-layer roles in this layer. Matrices are stored [out, in]. */
  tensorName(role: TensorRole, layer?: number): string;
}

/** A model together with its files. */
export interface Checkpoint extends ModelSource {
  /** Where it came from, for people: a path or a URL. */
  readonly location: string;
  /** config.json as it was read. */
  readonly config: Record<string, unknown>;
  tokenizer(): Promise<Tokenizer>;
  close(): Promise<void>;
}
