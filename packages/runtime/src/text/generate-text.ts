import { KvlrError, type Tokenizer } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import type { GeneratedToken, GenerationSettings } from '../generation/generation-settings.ts';
import { StopStrings, TextStream } from './text-stream.ts';

/** How a text is continued: `GenerationSettings`, in terms of text. Same seed, same text. */
export interface TextSettings extends Omit<GenerationSettings, 'maxNewTokens' | 'stopIds'> {
  /** Default 256. */
  maxNewTokens?: number;
  /** Texts that end the answer; they are not handed out, wherever the borders of tokens lie. */
  stop?: string | readonly string[];
}

/** One step of an answer: a token was chosen. The pieces of text, joined, are the answer. */
export interface GeneratedText {
  /**
   * What can be said for certain after this token: whole characters, no part of a stop string. May be empty. Of a character in whose
   * middle the text is cut off nothing is said.
   */
  text: string;
  tokenId: number;
  /** Natural logarithm of the token's probability as the model sees it, before temperature, limits and penalty. */
  logprob?: number;
  timing: {
    /** From the previous token; for the first one from the start, which includes the prompt. */
    milliseconds: number;
    /** From the start. */
    sinceStart: number;
  };
  /** Tokens and bytes in the cache when this token was chosen. */
  cachedTokens: number;
  cacheBytes: number;
  /**
   * With the last step: the model ended its answer, a stop string came, `maxNewTokens` are reached, or the context is full, which
   * ends at the model's last position or at the cache's fixed capacity.
   */
  finishReason?: 'end' | 'stop' | NonNullable<GeneratedToken['finishReason']>;
}

/** Throws 'invalid-argument'; the numbers among the settings are checked where they are used. */
function checkTextSettings(settings: TextSettings): void {
  const { stop = [] } = Object(settings) as TextSettings;
  const texts: unknown = typeof stop === 'string' ? [stop] : stop;
  const areTexts = Array.isArray(texts) && texts.every((text) => typeof text === 'string' && text !== '');
  if (typeof settings === 'object' && settings !== null && areTexts) return;
  throw new KvlrError('invalid-argument', {
    message: areTexts
      ? `expected an object, got ${String(settings)}.`
      : 'expected texts that are not empty, got others.',
    where: { argument: areTexts ? 'settings' : 'stop' },
  });
}

/**
 * Continues a prompt and hands out text as it becomes certain. The token that ends the answer is handed out too, with what
 * was held back. Throws what `DecoderModel.generate` throws; leaving the loop early frees the cache.
 */
export async function* generateText(
  model: Pick<DecoderModel, 'generate'>,
  tokenizer: Pick<Tokenizer, 'decode' | 'endOfSequenceIds'>,
  promptIds: ArrayLike<number>,
  settings: TextSettings = {},
): AsyncGenerator<GeneratedText, void, undefined> {
  checkTextSettings(settings);
  const { maxNewTokens = 256, stop = [], ...sampling } = settings;
  const stream = new TextStream(tokenizer, promptIds);
  const stops = new StopStrings(typeof stop === 'string' ? [stop] : stop);
  let sinceStart = 0;
  for await (const token of model.generate(promptIds, { ...sampling, maxNewTokens })) {
    const { tokenId, logprob, milliseconds, cachedTokens, cacheBytes, finishReason: noRoom } = token;
    sinceStart += milliseconds;
    const ended = tokenizer.endOfSequenceIds.includes(tokenId);
    const whole = ended ? '' : stream.push(tokenId);
    const { text, stopped } = stops.push(ended ? stream.flush() : whole);
    const finishReason = stopped ? 'stop' : ended ? 'end' : noRoom;
    yield {
      text: finishReason === undefined ? text : text + stops.flush(),
      tokenId,
      ...(logprob !== undefined && { logprob }),
      timing: { milliseconds, sinceStart },
      cachedTokens,
      cacheBytes,
      ...(finishReason && { finishReason }),
    };
    if (finishReason !== undefined) return;
  }
}
