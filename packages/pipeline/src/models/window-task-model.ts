import type { DecoderShape } from '@kvlr/core';
import { scoreLogits } from '@kvlr/evaluation';
import type { GreedyRequest, ScoredSequence, SequenceScore, TaskModel } from '@kvlr/tasks';
import type { BranchSource } from './engine.ts';
import { commonLength, isTop } from './task-model.ts';

/** Logits that are held at once, 256 MiB of them. */
const maxLogits = 2 ** 26;
/** Tokens that are run at once: scores grow with their square. */
const maxTokens = 2048;

/**
 * A decoder in native code as tasks ask it. Sequences that are scored together, such as the choices of a question, are one window: what
 * all begin with is run once, and behind it their ends side by side. Keys and values stay float32 and nothing is forgotten; answers that are
 * generated come from another model.
 */
export class WindowTaskModel implements TaskModel {
  readonly vocabSize: number;
  readonly maxPositions: number;

  constructor(
    { vocabSize, maxPositionEmbeddings }: Pick<DecoderShape, 'vocabSize' | 'maxPositionEmbeddings'>,
    private readonly model: BranchSource,
    /** Says what comes when a text is to be continued. */
    private readonly generator: () => Promise<Pick<TaskModel, 'generate'>>,
  ) {
    this.vocabSize = vocabSize;
    this.maxPositions = maxPositionEmbeddings;
  }

  async score(sequences: readonly ScoredSequence[]): Promise<SequenceScore[]> {
    const scores: SequenceScore[] = [];
    for (const group of this.groups(sequences)) scores.push(...(await this.scoreGroup(group)));
    return scores;
  }

  async generate(request: GreedyRequest): Promise<string> {
    return (await this.generator()).generate(request);
  }

  /** Neighbours that fit into one window. */
  private groups(sequences: readonly ScoredSequence[]): ScoredSequence[][] {
    const groups: ScoredSequence[][] = [];
    for (const sequence of sequences) {
      const last = groups.at(-1);
      const grown = last && [...last, sequence];
      if (grown && this.fits(grown)) groups[groups.length - 1] = grown;
      else groups.push([sequence]);
    }
    return groups;
  }

  private fits(group: readonly ScoredSequence[]): boolean {
    const shared = sharedBeginning(group);
    // Texts that share nothing gain nothing from each other.
    if (shared === 0) return false;
    const tokens = group.reduce((total, { tokenIds }) => total + tokenIds.length - shared, shared);
    const rows = group.reduce((total, { tokenIds, from }) => total + tokenIds.length - from, 0);
    return tokens <= maxTokens && rows * this.vocabSize <= maxLogits;
  }

  private async scoreGroup(group: readonly ScoredSequence[]): Promise<SequenceScore[]> {
    const { vocabSize } = this;
    const shared = sharedBeginning(group);
    const prefix = group[0]!.tokenIds.subarray(0, shared);
    // The last token of each is only predicted.
    const branches = group.map(({ tokenIds }) => tokenIds.subarray(shared, Math.max(shared, tokenIds.length - 1)));
    const rows: number[] = [];
    let start = shared;
    for (const [index, { tokenIds, from }] of group.entries()) {
      for (let place = from - 1; place < tokenIds.length - 1; place++) {
        rows.push(place < shared ? place : start + place - shared);
      }
      start += branches[index]!.length;
    }
    const logits = await this.model.branchLogits({ prefix, branches }, rows);
    let first = 0;
    return group.map(({ tokenIds, from }) => {
      const targets = tokenIds.subarray(from);
      const own = logits.subarray(first * vocabSize, (first + targets.length) * vocabSize);
      first += targets.length;
      return {
        logLikelihood: -scoreLogits(own, targets, vocabSize),
        isGreedy: targets.every((target, row) => isTop(own, row * vocabSize, vocabSize, target)),
      };
    });
  }
}

/** Tokens that all sequences begin with and none ends with. */
function sharedBeginning(group: readonly ScoredSequence[]): number {
  const [{ tokenIds: first }] = group as [ScoredSequence];
  return Math.min(...group.map(({ tokenIds }) => Math.min(tokenIds.length - 1, commonLength(first, tokenIds))));
}
