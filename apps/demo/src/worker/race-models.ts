import type { Tokenizer } from '@kvlr/core';
import type { DecoderModel, GeneratedToken, GenerationSettings } from '@kvlr/runtime';
import { type GenerationProgress, type Side, sides } from '../messages.ts';

interface RaceRequest {
  models: Readonly<Record<Side, Pick<DecoderModel, 'generate'>>>;
  tokenizer: Pick<Tokenizer, 'decode'>;
  promptIds: readonly number[];
  generation: GenerationSettings;
  onToken: (progress: GenerationProgress) => void;
}

/** One model's text in the making. */
interface Runner {
  side: Side;
  tokens: AsyncIterableIterator<GeneratedToken>;
  tokenIds: number[];
  stepMilliseconds: number[];
  finished: boolean;
}

/**
 * Lets both models continue the prompt in turns, a token each, so that both run on the same machine under the same load;
 * each step is timed on its own. Returns how many tokens the two have in common from the start.
 */
export async function raceModels(request: RaceRequest): Promise<number> {
  const { models, promptIds, generation } = request;
  const runners = sides.map(
    (side): Runner => ({
      side,
      tokens: models[side].generate(promptIds, generation),
      tokenIds: [],
      stepMilliseconds: [],
      finished: false,
    }),
  );
  try {
    while (runners.some(({ finished }) => !finished)) {
      for (const runner of runners) await advance(runner, request);
    }
  } finally {
    // Frees the cache of a model that was cut short by the other one's error.
    for (const { tokens } of runners) await tokens.return?.();
  }
  return commonPrefixLength(runners[0]!.tokenIds, runners[1]!.tokenIds);
}

async function advance(runner: Runner, { tokenizer, onToken }: RaceRequest): Promise<void> {
  if (runner.finished) return;
  const { done, value } = await runner.tokens.next();
  if (done) {
    runner.finished = true;
    return;
  }
  runner.tokenIds.push(value.tokenId);
  // The first step runs the whole prompt: its time is no decoding speed.
  if (value.index > 0) runner.stepMilliseconds.push(value.milliseconds);
  const step = median(runner.stepMilliseconds);
  onToken({
    side: runner.side,
    text: tokenizer.decode(runner.tokenIds, { skipSpecialTokens: true }),
    newTokens: runner.tokenIds.length,
    cachedTokens: value.cachedTokens,
    cacheBytes: value.cacheBytes,
    tokensPerSecond: step === undefined ? undefined : 1000 / step,
  });
}

function commonPrefixLength(first: readonly number[], second: readonly number[]): number {
  const difference = first.findIndex((tokenId, position) => tokenId !== second[position]);
  return difference === -1 ? first.length : difference;
}

/** The middle of the values, the mean of the two middle ones for an even count; undefined when there are none. */
export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}
