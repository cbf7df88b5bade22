import { type CacheDtype, entryDtypes } from '@kvlr/core';
import { kernelCounters, type WeightFormat } from '@kvlr/kernels';
import { repeatFrequencies } from '@kvlr/rope';
import { createTinyModel, randomTokenIds, type TinyModel, type TinyModelSettings } from '@kvlr/testkit';
import type { BackendName } from '../backends/select-backend.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from './latent-model.ts';
import { createMixedModel } from './mixed-model.ts';

/** A whole decoder on the fused kernels, in one format of weights and of cache. */
export interface DecoderCase {
  name: string;
  source: TinyModel;
  weights: WeightFormat;
  cacheDtype: CacheDtype;
  /** Of a step on WebGPU: embedding, 5 a layer, logits. */
  dispatches: number;
}

/**
 * Sizes with which most shaders serve several cases, since an emulated GPU takes most of a second to build one. 27 columns fill
 * neither vectors nor groups of packed weights.
 */
const sizes: TinyModelSettings = { hiddenSize: 27, intermediateSize: 32, numAttentionHeads: 4, headDim: 8 };
const twoHeads = createTinyModel({ ...sizes, numKeyValueHeads: 2 });
const layouts: Record<string, Pick<DecoderCase, 'source' | 'dispatches'>> = {
  'two KV heads': { source: twoHeads, dispatches: 1 + 5 + 5 + 1 },
  'KV heads by layer': { source: createMixedModel([1, 2], sizes), dispatches: 1 + 5 + 5 + 1 },
  // Queries are encoded and keys appended before attention.
  'latent keys': { source: createLatentModel(2, { ...sizes, numKeyValueHeads: 2 }), dispatches: 1 + 6 + 6 + 1 },
};
/** One KV head that holds four of 8, each frequency four times over. */
const wideHead = createTinyModel({
  ...{ ...sizes, headDim: 4 * 8, numKeyValueHeads: 1 },
  rope: repeatFrequencies({ type: 'default', theta: 10000 }, 8, 4, 128),
});
const formats = ['f32', 'f16', 'int8', 'int4'] as const;

/** Every layout with every format of weights, and every dtype of the cache. */
export const decoderCases: DecoderCase[] = [
  ...Object.entries(layouts).flatMap(([layout, given]) =>
    formats.map((weights): DecoderCase => {
      return { ...given, name: `${layout}, ${weights} weights`, weights, cacheDtype: 'f32' };
    }),
  ),
  { source: wideHead, dispatches: 1 + 5 + 5 + 1, name: 'a wide head', weights: 'f32', cacheDtype: 'f32' },
  // Over two blocks and over what is in none attention is two dispatches, and a third joins them; appending stands alone.
  {
    ...{ source: twoHeads, dispatches: 1 + 8 + 8 + 1, name: 'two KV heads, channel-3 cache' },
    ...{ weights: 'f32', cacheDtype: 'channel-3' },
  },
  ...entryDtypes.slice(1).map((cacheDtype): DecoderCase => {
    return { ...layouts['two KV heads']!, name: `two KV heads, ${cacheDtype} cache`, weights: 'f32', cacheDtype };
  }),
];

/** A prompt that takes two parts of decode attention, and three more tokens. */
export const caseTokenIds = randomTokenIds(73, 50);
const promptTokens = 70;

export interface CaseResult {
  /** After the prompt and after each further token, [4, vocabSize]. */
  logits: number[];
  /** Of the last token. */
  dispatches: number;
}

/** Runs a case on a backend; what WebGPU finds invalid throws. */
export async function runDecoderCase(
  { source, weights, cacheDtype }: DecoderCase,
  backend: BackendName,
): Promise<CaseResult> {
  const model = await loadModel(source, { backend, weights, cache: { dtype: cacheDtype }, debug: true });
  const cache = await model.createCache(caseTokenIds.length);
  const steps = [caseTokenIds.subarray(0, promptTokens), ...[...caseTokenIds.subarray(promptTokens)].map((id) => [id])];
  const logits: number[] = [];
  for (const ids of steps) {
    kernelCounters.reset();
    logits.push(...(await model.extend(cache, ids)));
  }
  cache.dispose();
  model.dispose();
  return { logits, dispatches: kernelCounters.total().dispatches };
}

/** Tokens sampled with every setting of sampling, behind a window that the prompt already goes round. */
export async function sampleTokens(backend: BackendName): Promise<number[]> {
  const settings = { backend, weights: 'f32', cache: { window: 40, sinks: 2 }, debug: true } as const;
  const model = await loadModel(decoderCases[0]!.source, settings);
  const sampling = { temperature: 1.2, topK: 30, topP: 0.9, repetitionPenalty: 1.3, seed: 5 };
  const sampled: number[] = [];
  const prompt = caseTokenIds.subarray(0, promptTokens);
  for await (const { tokenId } of model.generate(prompt, { ...sampling, maxNewTokens: 12 })) sampled.push(tokenId);
  model.dispose();
  return sampled;
}
