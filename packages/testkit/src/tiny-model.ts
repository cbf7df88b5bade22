import {
  type AttentionShape,
  createNormalRandom,
  type DecoderShape,
  type DenseTensor,
  layerTensors,
  llamaShape,
  type ModelSource,
  type PositionShape,
  type RopeParameters,
} from '@kvlr/core';
import { llamaTensorName } from './llama-tensor-name.ts';
import { memoryTensorSource } from './memory-tensor-source.ts';

export interface TinyModelSettings {
  seed?: number;
  numLayers?: number;
  hiddenSize?: number;
  intermediateSize?: number;
  numAttentionHeads?: number;
  numKeyValueHeads?: number;
  headDim?: number;
  vocabSize?: number;
  /** Biases on q, k, v and o. */
  attentionBias?: boolean;
  mlpBias?: boolean;
  tieWordEmbeddings?: boolean;
  rope?: RopeParameters;
  /** How every layer knows positions, in the place of `rope`. */
  positions?: PositionShape;
  /** Tokens that a query sees, in every layer. */
  window?: number;
  /** A norm of queries and keys, clipped projections, capped scores. */
  attention?: Pick<AttentionShape, 'queryKeyNorm' | 'clip' | 'softCap'>;
}

export interface TinyModel extends ModelSource {
  /** The tensors themselves; a test may change them before the model is used. */
  readonly dense: Map<string, DenseTensor>;
}

/** A LLaMA-shaped model with seeded random weights, small enough for any test. Scores are spread so that attention is not flat. */
export function createTinyModel(settings: TinyModelSettings = {}): TinyModel {
  const seed = settings.seed ?? 1;
  const numAttentionHeads = settings.numAttentionHeads ?? 4;
  const numKeyValueHeads = settings.numKeyValueHeads ?? numAttentionHeads;
  const headDim = settings.headDim ?? 8;
  const numLayers = settings.numLayers ?? 2;
  const attentionBias = settings.attentionBias ?? false;
  const plain = llamaShape({
    ...{ numLayers, numAttentionHeads, numKeyValueHeads, headDim },
    hiddenSize: settings.hiddenSize ?? 24,
    intermediateSize: settings.intermediateSize ?? 40,
    vocabSize: settings.vocabSize ?? 50,
    maxPositionEmbeddings: 128,
    normEpsilon: 1e-5,
    tied: settings.tieWordEmbeddings ?? false,
    inputBias: attentionBias,
    outputBias: attentionBias,
    feedForwardBias: settings.mlpBias ?? false,
    rope: settings.rope ?? { type: 'default', theta: 10000 },
  });
  const { positions, window } = settings;
  const shape: DecoderShape = {
    ...plain,
    attention: { ...plain.attention, ...settings.attention },
    layers: plain.layers.map((layer) => ({ ...layer, ...(positions && { positions }), ...(window && { window }) })),
  };
  const normal = createNormalRandom(seed);
  const dense = new Map<string, DenseTensor>();
  const add = (name: string, dimensions: number[], scale: number, offset = 0): void => {
    const count = dimensions.reduce((product, size) => product * size, 1);
    dense.set(name, { shape: dimensions, data: Float32Array.from({ length: count }, () => offset + scale * normal()) });
  };
  const { hiddenSize, vocabSize } = shape;
  const { intermediateSize } = shape.feedForward;
  const queryWidth = numAttentionHeads * headDim;
  const keyWidth = numKeyValueHeads * headDim;
  const inputScale = 1 / Math.sqrt(hiddenSize);
  add('model.embed_tokens.weight', [vocabSize, hiddenSize], 1);
  for (let layer = 0; layer < numLayers; layer++) {
    const name = (role: Parameters<typeof llamaTensorName>[0]) => llamaTensorName(role, layer);
    add(name('attentionNorm'), [hiddenSize], 0.1, 1);
    add(name('queryWeight'), [queryWidth, hiddenSize], 1.5 * inputScale);
    add(name('keyWeight'), [keyWidth, hiddenSize], 1.5 * inputScale);
    add(name('valueWeight'), [keyWidth, hiddenSize], inputScale);
    add(name('outputWeight'), [hiddenSize, queryWidth], 1 / Math.sqrt(queryWidth));
    if (attentionBias) {
      add(name('queryBias'), [queryWidth], 0.5);
      add(name('keyBias'), [keyWidth], 0.5);
      add(name('valueBias'), [keyWidth], 0.5);
      add(name('outputBias'), [hiddenSize], 0.5);
    }
    for (const { role, shape: dimensions } of layerTensors(shape, layer)) {
      if (!/^(query|key)Norm/.test(role)) continue;
      const isScale = !role.endsWith('Bias') && !shape.attention.queryKeyNorm!.unitOffset;
      add(name(role), dimensions, 0.2, isScale ? 1 : 0);
    }
    add(name('feedForwardNorm'), [hiddenSize], 0.1, 1);
    add(name('gateWeight'), [intermediateSize, hiddenSize], inputScale);
    add(name('upWeight'), [intermediateSize, hiddenSize], inputScale);
    add(name('downWeight'), [hiddenSize, intermediateSize], 1 / Math.sqrt(intermediateSize));
    if (shape.feedForward.bias) {
      add(name('gateBias'), [intermediateSize], 0.5);
      add(name('upBias'), [intermediateSize], 0.5);
      add(name('downBias'), [hiddenSize], 0.5);
    }
  }
  add('model.norm.weight', [hiddenSize], 0.1, 1);
  if (!shape.head.tied) add('lm_head.weight', [vocabSize, hiddenSize], 2 * inputScale);
  return {
    id: `tiny-${seed}`,
    shape,
    dense,
    tensors: memoryTensorSource(dense),
    tensorName: (role, layer) =>
      role === 'languageModelHead' && shape.head.tied ? llamaTensorName('embedding') : llamaTensorName(role, layer),
  };
}

/** Seeded random token ids. */
export function randomTokenIds(count: number, vocabSize: number, seed = 7): Int32Array {
  const normal = createNormalRandom(seed);
  return Int32Array.from({ length: count }, () => Math.abs(Math.floor(normal() * 1e6)) % vocabSize);
}
