import {
  type AttentionWeights,
  type CompressedLayer,
  countElements,
  type DecoderShape,
  type DenseTensor,
  KvlrError,
  type ModelSource,
  type TensorRole,
} from '@kvlr/core';
import { isLatentTensorRole } from '../architectures/latent-tensor-names.ts';
import { uniformKeyValueHeads } from '../config/uniform-key-value-heads.ts';
import { type ExpectedTensor, expectedTensors } from './expected-tensors.ts';
import { fingerprint } from './fingerprint.ts';
import { overlayModel } from './overlay-model.ts';

const weightOfRole: Partial<Record<TensorRole, keyof AttentionWeights>> = {
  queryWeight: 'query',
  keyWeight: 'key',
  valueWeight: 'value',
  outputWeight: 'output',
  queryBias: 'queryBias',
  keyBias: 'keyBias',
  valueBias: 'valueBias',
  outputBias: 'outputBias',
};

/**
 * The model with the given layers' attention replaced: new cache layouts, q/k/v/o (and biases) as float32, and the
 * encoders of latent keys or the decoders of rebuilt ones. Where one layer brings a bias that the base model lacks, the others get one of zeros, since
 * biases are a property of the whole model.
 */
export function applyCompression(base: ModelSource, layers: readonly CompressedLayer[]): ModelSource {
  const byLayer = new Map(layers.map((layer) => [layer.layer, layer]));
  const shape = compressedShape(base.shape, byLayer);
  const tensors = new Map<string, DenseTensor>();
  const variant = overlayModel(base, { shape, tensors, id: `${base.id}+${fingerprint(layers)}` });
  for (const expected of expectedTensors(shape)) {
    const data = replacement(base, expected, byLayer);
    if (data === undefined) continue;
    checkLength(expected, data);
    tensors.set(variant.tensorName(expected.role, expected.layer), { shape: expected.shape, data });
  }
  return variant;
}

function compressedShape(base: DecoderShape, byLayer: ReadonlyMap<number, CompressedLayer>): DecoderShape {
  const weights = [...byLayer.values()].map((layer) => layer.weights);
  const addsOutputBias = weights.some(({ outputBias }) => outputBias !== undefined);
  const addsInputBias = weights.some(({ queryBias, keyBias, valueBias }) => queryBias ?? keyBias ?? valueBias);
  // LLaMA's attention_bias covers q, k, v and o together: a bias on one of them needs all four.
  const attentionBias = base.attentionBias || addsInputBias || (addsOutputBias && !base.outputBias);
  const outputBias = base.outputBias || addsOutputBias || (attentionBias && !base.attentionBias);
  const shape: DecoderShape = {
    ...base,
    attentionBias,
    outputBias,
    layers: base.layers.map((layout, layer) => byLayer.get(layer)?.layout ?? layout),
  };
  return { ...shape, numKeyValueHeads: uniformKeyValueHeads(shape) ?? base.numKeyValueHeads };
}

/** Numbers of a tensor that differs from the base's; undefined where the base's own is kept. */
function replacement(
  base: ModelSource,
  { role, layer, shape }: ExpectedTensor,
  byLayer: ReadonlyMap<number, CompressedLayer>,
): Float32Array | undefined {
  const compressed = layer === undefined ? undefined : byLayer.get(layer);
  if (isLatentTensorRole(role)) {
    const latent = {
      latentKeyEncoder: compressed?.latentKeys?.encoder,
      latentQueryEncoder: compressed?.latentKeys?.queryEncoder,
      rebuiltKeyDecoder: compressed?.rebuiltKeys?.decoder,
    }[role];
    return latent === undefined ? undefined : Float32Array.from(latent);
  }
  const field = weightOfRole[role];
  if (field === undefined) return undefined;
  const data = compressed?.weights[field];
  if (data !== undefined) return Float32Array.from(data);
  const isNewBias = shape.length === 1 && (compressed !== undefined || !base.tensors.has(base.tensorName(role, layer)));
  return isNewBias ? new Float32Array(shape[0]!) : undefined;
}

function checkLength({ role, layer, shape }: ExpectedTensor, data: Float32Array): void {
  const expected = countElements(shape);
  if (data.length === expected) return;
  throw new KvlrError('tensor-shape', {
    message: `applyCompression: layer ${layer}: expected ${role} to be [${shape}], ${expected} numbers, got ${data.length}`,
    data: { layer, role, expected: shape, received: data.length },
  });
}
