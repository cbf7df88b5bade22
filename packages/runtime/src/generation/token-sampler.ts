import { sampleTokens } from '@kvlr/kernels';
import { concat, type Tensor, type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import type { GeneratedToken, GenerationSettings } from './generation-settings.ts';
import { logProbability } from './sample-token.ts';

/** Stands in the cache's list for an id that only the device knows yet. */
const UNREAD = -1;

export type SampledToken = Pick<GeneratedToken, 'tokenId' | 'logprob'>;

/** One token's step on the device: logits [1, vocabSize] after the token of this id, int32 [1]; some caches let it wait for the host. */
export type DeviceStep = (cache: KeyValueCache, ids: Tensor) => Tensor2D | Promise<Tensor2D>;

/** One text in the making. */
export interface TextInTheMaking {
  /**
   * Its next `count` tokens.
   *
   * @param following How many will be asked for after them, if nothing ends the text: they may be begun already. At least 0.
   */
  take(count: number, following: number): Promise<SampledToken[]>;
  dispose(): void;
}

/** Samples tokens on the device, step by step, and reads their ids back together. */
export class TokenSampler implements TextInTheMaking {
  private readonly cache: KeyValueCache;
  private readonly settings: GenerationSettings;
  private readonly step: DeviceStep;
  /** Prompt and all ids that were read. */
  private readonly text: number[];
  private readonly history: Tensor2D | undefined;
  private logits: Tensor2D | undefined;
  private sampled: Tensor[] = [];
  /** Of the sampled tokens, where log probabilities are wanted. */
  private keptLogits: Tensor2D[] = [];
  private newest: Tensor | undefined;
  private count = 0;

  /** Takes over the logits after the prompt. */
  constructor(
    cache: KeyValueCache,
    prompt: readonly number[],
    logits: Tensor2D,
    step: DeviceStep,
    settings: GenerationSettings,
  ) {
    this.cache = cache;
    this.settings = settings;
    this.step = step;
    this.text = [...prompt];
    this.logits = logits;
    this.history = historyOf(prompt, settings);
  }

  async take(count: number): Promise<SampledToken[]> {
    for (let place = 0; place < count; place++) await this.next();
    return this.read();
  }

  /** Chooses the next token, after having run the one before. */
  private async next(): Promise<void> {
    if (this.logits === undefined) {
      this.cache.reserve(1);
      this.logits = await this.step(this.cache, this.newest!);
      this.cache.advance([[UNREAD]]);
      await this.cache.settle();
    }
    const logits = this.logits;
    const { temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1, seed = 0 } = this.settings;
    const sampling = { temperature, topK, topP, repetitionPenalty, seed, step: this.count };
    const history = this.history && { ids: this.history, length: this.text.length + this.sampled.length };
    const ids = tidy(() => sampleTokens(logits, sampling, history));
    this.count++;
    if (this.settings.logprobs) this.keptLogits.push(logits);
    else logits.dispose();
    this.logits = undefined;
    // What was read before is of use to no one but the step that has just run.
    if (this.sampled.length === 0) this.newest?.dispose();
    this.sampled.push(ids);
    this.newest = ids;
  }

  /** All tokens chosen since the last reading. */
  private async read(): Promise<SampledToken[]> {
    const joined = this.sampled.length === 1 ? this.newest! : concat(this.sampled);
    const ids = Array.from((await joined.data()) as Int32Array);
    if (joined !== this.newest) joined.dispose();
    for (const each of this.sampled) if (each !== this.newest) each.dispose();
    this.sampled = [];
    this.text.push(...ids);
    fillIn(this.cache, this.text);
    const tokens: SampledToken[] = ids.map((tokenId) => ({ tokenId }));
    for (const [place, logits] of this.keptLogits.entries()) {
      tokens[place]!.logprob = logProbability((await logits.data()) as Float32Array, ids[place]!);
      logits.dispose();
    }
    this.keptLogits = [];
    return tokens;
  }

  dispose(): void {
    for (const each of this.sampled) if (each !== this.newest) each.dispose();
    for (const each of [this.newest, this.logits, this.history, ...this.keptLogits]) each?.dispose();
  }
}

/** Recorded steps of a model, for `RecordedSampler`: see `RecordedDecoding`. */
export interface RecordedSteps {
  begin(logits: Tensor2D, count: number, historyLength: number): void;
  start(count: number): void;
  readonly underWay: number;
  read(): Promise<Int32Array[]>;
  dispose(): void;
}

/** Samples tokens with recorded steps: while one lot of ids is read, the next is computed. */
export class RecordedSampler implements TextInTheMaking {
  private readonly cache: KeyValueCache;
  private readonly steps: RecordedSteps;
  private readonly history: Tensor2D | undefined;
  private readonly text: number[];
  private logits: Tensor2D | undefined;

  /** Takes over the logits after the prompt, and the steps that `record` gives. */
  constructor(
    cache: KeyValueCache,
    prompt: readonly number[],
    logits: Tensor2D,
    record: (history: Tensor2D | undefined) => RecordedSteps,
    settings: GenerationSettings,
  ) {
    this.cache = cache;
    this.text = [...prompt];
    this.logits = logits;
    this.history = historyOf(prompt, settings);
    this.steps = record(this.history);
  }

  async take(count: number, following: number): Promise<SampledToken[]> {
    const { steps, text } = this;
    if (this.logits) {
      steps.begin(this.logits, count, text.length);
      this.logits.dispose();
      this.logits = undefined;
    } else if (steps.underWay === 0) {
      steps.start(count);
    }
    if (following > 0) steps.start(following);
    const ids = (await steps.read()).map((ofBatch) => ofBatch[0]!);
    text.push(...ids);
    fillIn(this.cache, text);
    return ids.map((tokenId) => ({ tokenId }));
  }

  dispose(): void {
    this.steps.dispose();
    this.history?.dispose();
    this.logits?.dispose();
  }
}

/** Prompt and room for new tokens, where a penalty looks at them. */
function historyOf(
  prompt: readonly number[],
  { maxNewTokens, repetitionPenalty = 1 }: GenerationSettings,
): Tensor2D | undefined {
  if (repetitionPenalty === 1) return undefined;
  const ids = new Int32Array(prompt.length + maxNewTokens + 1).fill(UNREAD);
  ids.set(prompt);
  return tensor2d(ids, [1, ids.length], 'int32');
}

/** Puts the ids that were read into the cache's list. */
function fillIn(cache: KeyValueCache, text: readonly number[]): void {
  const held = cache.tokenIds[0]!;
  const known = Math.min(held.length, text.length);
  for (let place = known - 1; held[place] === UNREAD; place--) held[place] = text[place]!;
}
