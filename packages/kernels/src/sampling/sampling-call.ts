import type { TensorInfo } from '@tensorflow/tfjs-core';

export interface SamplingInputs {
  /** float32 [batch, vocabulary] */
  logits: TensorInfo;
  /** int32 [batch, capacity]; negative entries are no tokens. The chosen token is written to it. */
  history?: TensorInfo;
}

export interface SamplingAttributes {
  temperature: number;
  /** 0: no limit. */
  topK: number;
  topP: number;
  repetitionPenalty: number;
  /** Starts the random numbers of this step: a whole number of 32 bits. */
  stepKey: number;
  /** Tokens in every row of the history so far. */
  length: number;
}
