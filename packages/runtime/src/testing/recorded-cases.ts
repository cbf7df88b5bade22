import type { CacheDtype } from '@kvlr/core';
import { kernelCounters, type WeightFormat } from '@kvlr/kernels';
import { createTinyModel, type TinyModel } from '@kvlr/testkit';
import type { CacheSettings } from '../cache/cache-settings.ts';
import { loadModel } from '../decoder/load-model.ts';
import type { GenerationSettings } from '../generation/generation-settings.ts';
import { createLatentModel } from './latent-model.ts';

/** A text that is generated with recorded steps, and without. Prompts have one token: longer ones take shaders of their own. */
export interface RecordedCase {
  name: string;
  source: TinyModel;
  weights: WeightFormat;
  cache: CacheSettings & { dtype: CacheDtype };
  newTokens: number;
  sampling: Omit<GenerationSettings, 'maxNewTokens'>;
  /** Of a step: 5 for the layer and one more where latent keys are encoded, head, choice of the token. */
  dispatches: number;
}

const sizes = {
  ...{ numLayers: 1, hiddenSize: 27, intermediateSize: 32, vocabSize: 50 },
  ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8 },
};
const source = createTinyModel(sizes);
const random = { temperature: 1.2, topK: 30, topP: 0.9, seed: 5 };

export const recordedCases: RecordedCase[] = [
  {
    ...{ name: 'f32, in pages', source, weights: 'f32', cache: { dtype: 'f32', pageTokens: 8 } },
    ...{ newTokens: 20, sampling: {}, dispatches: 5 + 2 },
  },
  {
    ...{ name: 'f16, behind a window', source, weights: 'f16', cache: { dtype: 'f16', window: 8, sinks: 2 } },
    ...{ newTokens: 20, sampling: { ...random, repetitionPenalty: 1.3 }, dispatches: 5 + 2 },
  },
  {
    ...{ name: 'int8, in two parts and pages', source, weights: 'int8', cache: { dtype: 'int8', pageTokens: 40 } },
    ...{ newTokens: 75, sampling: random, dispatches: 5 + 2 },
  },
  {
    ...{ name: 'int4, in two parts, greedily', source, weights: 'int4', cache: { dtype: 'f16', pageTokens: 80 } },
    ...{ newTokens: 70, sampling: {}, dispatches: 5 + 2 },
  },
  {
    ...{ name: 'int4 and latent keys', source: createLatentModel(2, sizes), weights: 'int4', cache: { dtype: 'int4' } },
    ...{ newTokens: 12, sampling: { repetitionPenalty: 1.2, tokensPerReadback: 1 }, dispatches: 6 + 2 },
  },
];

/** The ids of a case on WebGPU, and the dispatches of a token. */
export async function runRecordedCase(name: string, recorded: boolean): Promise<{ ids: number[]; dispatches: number }> {
  const given = recordedCases.find((each) => each.name === name)!;
  const model = await loadModel(given.source, { backend: 'webgpu', weights: given.weights, debug: true });
  const cache = await model.createCache(given.cache);
  const ids: number[] = [];
  const dispatches: number[] = [];
  const { newTokens } = given;
  const settings = { tokensPerReadback: 4, ...given.sampling, maxNewTokens: newTokens, cache, recorded };
  kernelCounters.reset();
  for await (const { tokenId } of model.generate([7], settings)) {
    ids.push(tokenId);
    dispatches.push(kernelCounters.total().dispatches);
  }
  const per = settings.tokensPerReadback;
  cache.dispose();
  model.dispose();
  // The last lot is begun when the one before it is read: look at two that are begun in between.
  const [from, to] = [newTokens - 1 - 3 * per, newTokens - 1 - 2 * per];
  return { ids, dispatches: (dispatches[to]! - dispatches[from]!) / per };
}
