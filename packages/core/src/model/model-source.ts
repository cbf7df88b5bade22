import type { DecoderShape } from './decoder-shape.ts';
import type { TensorRole } from './decoder-tensors.ts';
import { countElements, type TensorSource } from './tensors.ts';

/** Port: text to token ids and back. */
export interface Tokenizer {
  readonly vocabSize: number;
  /**
   * What stands before every text that the model reads from its beginning: often the begin-of-sequence id, often nothing. A model
   * that has such an id need not expect it.
   */
  readonly prefixIds: readonly number[];
  readonly endOfSequenceIds: number[];
  /**
   * Ids of the text alone: no special tokens are added, and special tokens written in the text are not recognised, unless
   * asked for, as for what a chat template made.
   */
  encode(text: string, settings?: { recogniseSpecialTokens?: boolean }): number[];
  decode(ids: readonly number[], settings?: { skipSpecialTokens?: boolean }): string;
}

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
  /** Type in which its weights are written where none is asked for, as for quantised ones; absent where each keeps its own. */
  readonly writtenDtype?: 'F32' | 'F16' | 'BF16';
  /** Type of the matrices in the file where kvlr reads them as another one, for people: 'Q4_1'. */
  readonly quantisedAs?: string;
  tokenizer(): Promise<Tokenizer>;
  close(): Promise<void>;
}

/** How many numbers the tensors of a model hold; tied embeddings count once. */
export function countParameters({ tensors }: Pick<ModelSource, 'tensors'>): number {
  return tensors.list().reduce((sum, { shape }) => sum + countElements(shape), 0);
}
