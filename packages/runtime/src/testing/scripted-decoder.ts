import type { DecoderModel } from '../decoder/decoder-model.ts';
import type { GenerationSettings } from '../generation/generation-settings.ts';

/** A decoder that says given tokens, however it is asked, and remembers how it was asked. */
export interface ScriptedDecoder extends Pick<DecoderModel, 'generate'> {
  asked: { promptIds: number[]; settings: GenerationSettings }[];
  /** Tokens that were taken from it. */
  said: number;
  /** True once its generator was left or has ended. */
  freed: boolean;
}

export function scriptedDecoder(tokenIds: readonly number[], maxPositionEmbeddings = 1000): ScriptedDecoder {
  const decoder: ScriptedDecoder = {
    asked: [],
    said: 0,
    freed: false,
    async *generate(promptIds, settings) {
      decoder.asked.push({ promptIds: Array.from(promptIds), settings });
      try {
        const room = Math.min(settings.maxNewTokens, maxPositionEmbeddings - promptIds.length + 1);
        for (const [index, tokenId] of tokenIds.slice(0, room).entries()) {
          decoder.said++;
          const cachedTokens = promptIds.length + index;
          const logprob = settings.logprobs ? { logprob: -index } : {};
          const full = room < settings.maxNewTokens ? 'context-full' : 'length';
          const finishReason = index === room - 1 ? { finishReason: full as typeof full } : {};
          yield {
            tokenId,
            index,
            milliseconds: 2,
            cachedTokens,
            cacheBytes: 8 * cachedTokens,
            ...logprob,
            ...finishReason,
          };
        }
      } finally {
        decoder.freed = true;
      }
    },
  };
  return decoder;
}
