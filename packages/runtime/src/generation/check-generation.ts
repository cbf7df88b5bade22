import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { GenerationSettings } from './generation-settings.ts';

/** Throws 'invalid-argument' for settings out of range. */
export function checkGenerationSettings(settings: GenerationSettings): void {
  const { maxNewTokens, temperature = 0, topK = 1, topP = 1, repetitionPenalty = 1, tokensPerReadback = 1 } = settings;
  const wholeFrom = (least: number, value: number) => Number.isInteger(value) && value >= least;
  const expectations: [name: string, holds: boolean, expected: string, received: number][] = [
    ['maxNewTokens', wholeFrom(0, maxNewTokens), 'a whole number from 0', maxNewTokens],
    ['temperature', temperature >= 0 && Number.isFinite(temperature), 'a finite number from 0', temperature],
    ['topK', wholeFrom(1, topK), 'a whole number from 1', topK],
    ['topP', topP > 0 && topP <= 1, 'a number above 0, at most 1', topP],
    ['repetitionPenalty', repetitionPenalty > 0, 'a number above 0', repetitionPenalty],
    ['tokensPerReadback', wholeFrom(1, tokensPerReadback), 'a whole number from 1', tokensPerReadback],
  ];
  for (const [name, holds, expected, received] of expectations) {
    if (holds) continue;
    throw new KvlrError('invalid-argument', {
      message: `generate: expected ${name} to be ${expected}, got ${received}.`,
      data: { [name]: received },
    });
  }
  if (settings.cache !== undefined && settings.cache.batch !== 1) {
    throw new KvlrError('invalid-argument', {
      message: `generate: expected a cache of one sequence, got ${settings.cache.batch}.`,
      data: { batch: settings.cache.batch },
    });
  }
}

/** Throws 'invalid-argument' for a prompt beyond the model's last position, unless a window lets it run on. */
export function checkPromptLength({ maxPositionEmbeddings }: DecoderShape, promptTokens: number, window: number): void {
  if (window > 0 || promptTokens <= maxPositionEmbeddings) return;
  throw new KvlrError('invalid-argument', {
    message: `generate: expected a prompt of at most ${maxPositionEmbeddings} tokens, got ${promptTokens}.`,
    hint: 'Shorten the prompt, for the model knows no positions beyond, or give the cache a window.',
    data: { maxPositionEmbeddings, promptTokens },
  });
}
