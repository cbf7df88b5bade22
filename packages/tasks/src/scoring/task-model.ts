/** Tokens of which those from `from` on are to be predicted from all before them. */
export interface ScoredSequence {
  tokenIds: Int32Array;
  /** From 1: the first token is only context. */
  from: number;
}

/** What a model makes of a sequence's predicted tokens. */
export interface SequenceScore {
  /** Sum of the natural logarithms of their probabilities. */
  logLikelihood: number;
  /** Whether each of them is the model's first choice. */
  isGreedy: boolean;
}

/** A text to be continued by the likeliest token each time. */
export interface GreedyRequest {
  promptIds: Int32Array;
  /** Texts that end the answer and do not belong to it. */
  until: readonly string[];
  maxNewTokens: number;
}

/** Port: a model that tasks are asked of. `@kvlr/pipeline` has one behind every checkpoint. */
export interface TaskModel {
  readonly vocabSize: number;
  /** Tokens that the model has positions for. */
  readonly maxPositions: number;
  /** Calls that may run at once, each on a processor of its own. Default 1. */
  readonly concurrency?: number;
  /** Scores sequences in their order. What one shares with the beginning of the one before need not be run again. */
  score(sequences: readonly ScoredSequence[]): Promise<SequenceScore[]>;
  generate(request: GreedyRequest): Promise<string>;
}
