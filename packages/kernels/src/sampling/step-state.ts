import type { Tensor } from '@tensorflow/tfjs-core';
import { allocateTensor, writeInPlace } from '../tensors.ts';

/** What each sequence of a batch begins with. */
export interface StepBeginning {
  /** Tokens held in the cache. */
  held: number;
  /** Tokens sampled before in the same generation: the step of the next one's random numbers. */
  sampled: number;
  /** Tokens in its row of the history. */
  historyLength: number;
}

/**
 * What changes from one decoding step to the next, on the device: for each sequence of a batch a `SequenceRow`, then its newest id,
 * how many tokens were sampled, how many are in its history; then the last `ringTokens` sampled ids of all sequences. One int32
 * tensor, whose first words serve as the `sequences` of the kernels over caches. `sampleAndEmbed` moves it on.
 */
export class StepState {
  readonly batch: number;
  readonly ringTokens: number;
  readonly words: Tensor;

  /** On the active backend, which is WebGPU. */
  constructor(batch: number, ringTokens: number) {
    this.batch = batch;
    this.ringTokens = ringTokens;
    this.words = allocateTensor([(6 + ringTokens) * batch], 'int32');
  }

  /**
   * Sets it to where logits of every sequence's last token are there, and the next token is to be sampled from them. To be called
   * between kernels: takes effect before dispatches that are recorded but not submitted.
   */
  begin(sequences: readonly StepBeginning[]): void {
    const { batch } = this;
    const words = new Int32Array(6 * batch);
    sequences.forEach(({ held, sampled, historyLength }, sequence) => {
      // Sampling counts the token whose logits it reads as held.
      words.set([held - 1, 1, 0], 3 * sequence);
      words[4 * batch + sequence] = sampled;
      words[5 * batch + sequence] = historyLength;
    });
    writeInPlace(this.words, 0, words);
  }

  /** From the values of `words`: the ids that were sampled as the n-th token of each sequence, one of the last `ringTokens`. */
  tokensAt(values: Int32Array, n: number): Int32Array {
    const { batch, ringTokens } = this;
    const start = 6 * batch + (n % ringTokens) * batch;
    return values.subarray(start, start + batch);
  }

  dispose(): void {
    this.words.dispose();
  }
}

/** WGSL: functions of a row (a sequence) for `state: array<i32>`, which the shader writes. */
export function stepStateShader(batch: number, ringTokens: number): string {
  return `
  fn sampledOf(row: i32) -> i32 { return state[${4 * batch} + row]; }
  fn historyLengthOf(row: i32) -> i32 { return state[${5 * batch} + row]; }
  /** One invocation of each row calls it, when all others have read what they need. */
  fn moveOn(row: i32, token: i32) {
    let sampled = sampledOf(row);
    state[3 * row] += state[3 * row + 1];
    state[${3 * batch} + row] = token;
    state[${4 * batch} + row] = sampled + 1;
    state[${5 * batch} + row] += 1;
    state[${6 * batch} + (sampled % ${ringTokens}) * ${batch} + row] = token;
  }`;
}
