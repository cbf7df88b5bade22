import type { Tokenizer } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import type { GeneratedToken } from '../generation/generation-settings.ts';
import { StopStrings } from './stop-strings.ts';
import type { GeneratedText, TextSettings } from './text-settings.ts';
import { TextStream } from './text-stream.ts';

/**
 * Continues a prompt and hands out text as it becomes certain. The token that ends the answer is handed out too, with what
 * was held back. Throws what `DecoderModel.generate` throws; leaving the loop early frees the cache.
 */
export async function* generateText(
  model: Pick<DecoderModel, 'generate' | 'shape'>,
  tokenizer: Pick<Tokenizer, 'decode' | 'endOfSequenceIds'>,
  promptIds: ArrayLike<number>,
  settings: TextSettings = {},
): AsyncGenerator<GeneratedText, void, undefined> {
  const { maxNewTokens = 256, stop = [], ...sampling } = settings;
  const stream = new TextStream(tokenizer, promptIds);
  const stops = new StopStrings(typeof stop === 'string' ? [stop] : stop);
  const limit = Math.min(maxNewTokens, model.shape.maxPositionEmbeddings - promptIds.length + 1);
  let sinceStart = 0;
  for await (const { token, isLast } of markLast(model.generate(promptIds, { ...sampling, maxNewTokens }), limit)) {
    const { tokenId, logprob, milliseconds, cachedTokens, cacheBytes } = token;
    sinceStart += milliseconds;
    const ended = tokenizer.endOfSequenceIds.includes(tokenId);
    const whole = ended ? '' : stream.push(tokenId);
    const { text, stopped } = stops.push(ended || isLast ? whole + stream.flush() : whole);
    const finishReason = stopped ? 'stop' : ended ? 'end' : isLast ? 'length' : undefined;
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

/** Tokens with word of which is the last. From the limit on each waits for the next one, since any may be the last. */
async function* markLast(tokens: AsyncIterableIterator<GeneratedToken>, limit: number) {
  try {
    let next = await tokens.next();
    while (!next.done) {
      const token: GeneratedToken = next.value;
      const mayBeLast = token.index >= limit - 1;
      if (mayBeLast) next = await tokens.next();
      yield { token, isLast: mayBeLast && next.done === true };
      if (!mayBeLast) next = await tokens.next();
    }
  } finally {
    await tokens.return?.();
  }
}
