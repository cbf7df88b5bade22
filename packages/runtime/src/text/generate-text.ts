import type { Tokenizer } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { StopStrings } from './stop-strings.ts';
import type { GeneratedText, TextSettings } from './text-settings.ts';
import { TextStream } from './text-stream.ts';

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
  const { maxNewTokens = 256, stop = [], ...sampling } = settings;
  const stream = new TextStream(tokenizer, promptIds);
  const stops = new StopStrings(typeof stop === 'string' ? [stop] : stop);
  let sinceStart = 0;
  for await (const token of model.generate(promptIds, { ...sampling, maxNewTokens })) {
    const { tokenId, logprob, milliseconds, cachedTokens, cacheBytes, finishReason: noRoom } = token;
    sinceStart += milliseconds;
    const ended = tokenizer.endOfSequenceIds.includes(tokenId);
    const whole = ended ? '' : stream.push(tokenId);
    const { text, stopped } = stops.push(ended || noRoom ? whole + stream.flush() : whole);
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
