import type { Tokenizer } from '@kvlr/core';
import { scoreLogits } from '@kvlr/evaluation';
import { type DecoderModel, generateText, type KeyValueCache } from '@kvlr/runtime';
import type { GreedyRequest, ScoredSequence, SequenceScore, TaskModel } from '@kvlr/tasks';

/** Logits that are held at once, 64 MiB of them: a text's continuation is scored in pieces. */
const maxLogits = 2 ** 24;

/**
 * A decoder as tasks ask it: behind one cache, of the settings that the decoder was loaded with. What a sequence shares with the
 * beginning of the one before is not run again: choices share their question, questions their few-shot examples. A cache whose window
 * has moved is begun anew.
 */
export class CachedTaskModel implements TaskModel {
  readonly vocabSize: number;
  readonly maxPositions: number;

  private constructor(
    private readonly decoder: DecoderModel,
    private readonly tokenizer: Tokenizer,
    private readonly cache: KeyValueCache,
  ) {
    this.vocabSize = decoder.vocabSize;
    this.maxPositions = decoder.shape.maxPositionEmbeddings;
  }

  /** The caller disposes it, and the decoder after it. */
  static async create(decoder: DecoderModel, tokenizer: Tokenizer): Promise<CachedTaskModel> {
    return new CachedTaskModel(decoder, tokenizer, await decoder.createCache());
  }

  async score(sequences: readonly ScoredSequence[]): Promise<SequenceScore[]> {
    const scores: SequenceScore[] = [];
    let before: { sequence: ScoredSequence; logits: Float32Array } | undefined;
    for (const sequence of sequences) {
      if (before === undefined || !readsTheSame(before.sequence, sequence)) {
        before = this.fitsOnePiece(sequence) ? { sequence, logits: await this.logitsOf(sequence) } : undefined;
      }
      scores.push(before === undefined ? await this.scoreInPieces(sequence) : this.scoreRows(sequence, before.logits));
    }
    return scores;
  }

  async generate({ promptIds, until, maxNewTokens }: GreedyRequest): Promise<string> {
    const stop = until.filter((text) => text !== '');
    const settings = { maxNewTokens, stop, cache: this.cache };
    // A window that has moved cannot go back to what the prompt shares with the text before.
    if (!this.cache.canTruncate(sharedLength(this.cache, promptIds))) this.cache.truncate(0);
    let answer = '';
    for await (const { text } of generateText(this.decoder, this.tokenizer, promptIds, settings)) answer += text;
    return answer;
  }

  dispose(): void {
    this.cache.dispose();
  }

  private fitsOnePiece({ tokenIds, from }: ScoredSequence): boolean {
    return (tokenIds.length - from) * this.vocabSize <= maxLogits;
  }

  /** Reads what stands before the predicted tokens, but for the last token of it. */
  private async readContext({ tokenIds, from }: ScoredSequence): Promise<void> {
    const { cache, decoder } = this;
    const contextLength = from - 1;
    const shared = Math.min(sharedLength(cache, tokenIds), contextLength);
    const kept = cache.canTruncate(shared) ? shared : 0;
    cache.truncate(kept);
    if (contextLength > kept) await decoder.extend(cache, tokenIds.subarray(kept, contextLength));
  }

  /** Logits before all predicted tokens. */
  private async logitsOf(sequence: ScoredSequence): Promise<Float32Array> {
    await this.readContext(sequence);
    return this.decoder.logitsBehind(this.cache, sequence.tokenIds.subarray(sequence.from - 1, -1));
  }

  private scoreRows({ tokenIds, from }: ScoredSequence, logits: Float32Array): SequenceScore {
    const { vocabSize } = this;
    const targets = tokenIds.subarray(from);
    return {
      logLikelihood: -scoreLogits(logits, targets, vocabSize),
      isGreedy: targets.every((target, row) => isTop(logits, row * vocabSize, vocabSize, target)),
    };
  }

  /** Where the logits are too many to be held at once. */
  private async scoreInPieces(sequence: ScoredSequence): Promise<SequenceScore> {
    const { cache, decoder, vocabSize } = this;
    const { tokenIds, from } = sequence;
    const contextLength = from - 1;
    await this.readContext(sequence);
    const piece = Math.max(1, Math.floor(maxLogits / vocabSize));
    let logLikelihood = 0;
    let isGreedy = true;
    for (let start = contextLength; start < tokenIds.length - 1; start += piece) {
      const end = Math.min(start + piece, tokenIds.length - 1);
      const logits = await decoder.logitsBehind(cache, tokenIds.subarray(start, end));
      const targets = tokenIds.subarray(start + 1, end + 1);
      logLikelihood -= scoreLogits(logits, targets, vocabSize);
      isGreedy &&= targets.every((target, row) => isTop(logits, row * vocabSize, vocabSize, target));
    }
    return { logLikelihood, isGreedy };
  }
}

/** Whether two sequences differ in their last token at most, which is only predicted. */
function readsTheSame(one: ScoredSequence, other: ScoredSequence): boolean {
  const { length } = one.tokenIds;
  if (one.from !== other.from || length !== other.tokenIds.length) return false;
  return commonLength(one.tokenIds, other.tokenIds) >= length - 1;
}

function sharedLength(cache: KeyValueCache, tokenIds: Int32Array): number {
  return commonLength(cache.tokenIds[0] ?? [], tokenIds);
}

/** How many first tokens two texts share. */
export function commonLength(one: ArrayLike<number>, other: ArrayLike<number>): number {
  let length = 0;
  while (length < one.length && length < other.length && one[length] === other[length]) length++;
  return length;
}

/** Whether a row's highest logit is this token's; the lowest id wins a tie. */
export function isTop(logits: Float32Array, start: number, vocabSize: number, token: number): boolean {
  const logit = logits[start + token]!;
  for (let id = 0; id < vocabSize; id++) {
    const other = logits[start + id]!;
    if (other > logit || (other === logit && id < token)) return false;
  }
  return true;
}
