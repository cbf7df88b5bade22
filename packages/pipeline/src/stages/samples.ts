import { countParameters, type ModelSource, type Tokenizer } from '@kvlr/core';
import type { EvaluationWindow } from '@kvlr/evaluation';
import type { TextSample } from '@kvlr/report';
import { wholeModelBytes } from '../models/facts.ts';
import type { ModelRunner } from '../models/runner.ts';

/** Tokens of a beginning, tokens that are written behind it, and beginnings. */
const [promptTokens, newTokens, mostSamples] = [32, 48, 3];

/** Tokens that pass through each of both models for so many sources of text. */
export function samplesTokens(sources: number): number {
  return Math.min(sources, mostSamples) * (promptTokens + newTokens);
}

export interface SamplesRequest {
  base: ModelSource;
  result: ModelSource;
  tokenizer: Tokenizer;
  /** Held-out text: the first window of each source gives a beginning. */
  windows: readonly EvaluationWindow[];
  runner: ModelRunner;
  signal?: AbortSignal | undefined;
}

/**
 * What both models write after beginnings out of held-out text, the likeliest token each time. None of models that take more memory as
 * a whole than stages otherwise need.
 */
export async function writeSamples(request: SamplesRequest): Promise<TextSample[]> {
  const { base, result, tokenizer, windows, runner, signal } = request;
  if (Math.max(...[base, result].map((source) => 2 * countParameters(source))) > wholeModelBytes) return [];
  const room = base.shape.maxPositionEmbeddings - newTokens;
  const firsts = [...new Map(windows.toReversed().map((window) => [window.source, window])).values()].toReversed();
  const chosen = firsts.slice(0, mostSamples).filter(({ tokenIds }) => Math.min(tokenIds.length, promptTokens) <= room);
  const prompts = chosen.map(({ tokenIds }) => tokenIds.slice(0, promptTokens));
  if (prompts.length === 0) return [];
  const settings = { newTokens, stopIds: tokenizer.endOfSequenceIds, signal };
  const written = [await runner.write(base, prompts, settings), await runner.write(result, prompts, settings)];
  const decode = (ids: readonly number[]) => tokenizer.decode([...ids], { skipSpecialTokens: true });
  return chosen.map(({ source }, place) => {
    const prompt = decode([...prompts[place]!]);
    const [first, second] = written.map((texts) => decode([...prompts[place]!, ...texts[place]!]).slice(prompt.length));
    return { source, prompt, base: first!, result: second!, sharedCharacters: sharedLength(first!, second!) };
  });
}

function sharedLength(first: string, second: string): number {
  let shared = 0;
  while (shared < Math.min(first.length, second.length) && first[shared] === second[shared]) shared++;
  return shared;
}
