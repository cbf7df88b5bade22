import {
  type AttentionWeights,
  type CompressedLayer,
  cacheLayout,
  type DecoderShape,
  type DecoderTensor,
  type DenseTensor,
  decoderTensors,
  isNativeRole,
  KvlrError,
  type ModelSource,
  type PositionShape,
  rolesOfAttentionWeights,
  stockLayout,
  type TensorInfo,
  type TensorRole,
} from '@kvlr/core';
import { widenHeads } from '@kvlr/rope';
import { uniformKeyValueHeads } from '../config/native.ts';
import { findNonFinite, requireLength } from '../dtypes.ts';
import { nativeTensorName } from './stored-tensors.ts';

export interface ModelChanges {
  shape: DecoderShape;
  /** Tensors that are replaced or added, by name. */
  tensors: ReadonlyMap<string, DenseTensor>;
  id: string;
}

/**
 * A variant of a model, in memory: some tensors changed, the others still read from the base when asked for. Throws
 * 'tensor-shape' where a tensor has more or fewer numbers than its shape.
 */
export function overlayModel(base: ModelSource, { shape, tensors: changed, id }: ModelChanges): ModelSource {
  for (const [name, tensor] of changed) requireLength(name, tensor.shape, tensor.data.length);
  const infoOf = (name: string): TensorInfo => {
    const tensor = changed.get(name);
    if (tensor === undefined) return base.tensors.info(name);
    const dtype = tensor.data instanceof Float64Array ? 'F64' : 'F32';
    return { name, dtype, shape: [...tensor.shape], byteLength: tensor.data.byteLength };
  };
  return {
    id,
    shape,
    tensorName: (role, layer) => (isNativeRole(role) ? nativeTensorName(role, layer) : base.tensorName(role, layer)),
    tensors: {
      list: () => [...new Set([...base.tensors.list().map(({ name }) => name), ...changed.keys()])].map(infoOf),
      has: (name) => changed.has(name) || base.tensors.has(name),
      info: infoOf,
      async readBytes(name) {
        const data = changed.get(name)?.data;
        return data === undefined ? base.tensors.readBytes(name) : new Uint8Array(data.slice().buffer);
      },
      async readFloat32(name) {
        const data = changed.get(name)?.data;
        if (data === undefined) return base.tensors.readFloat32(name);
        const values = Float32Array.from(data);
        const element = findNonFinite(values);
        if (element !== undefined) throw nonFinite(id, name, element, values[element]!);
        return values;
      },
      // The base stays open: other variants may share it, and whoever opened it closes it.
      close: async () => {},
    },
  };
}

/**
 * The model with the given layers' attention replaced: new cache layouts, q/k/v/o (and biases) as float32, and the
 * encoders of latent keys or the decoders of rebuilt ones. Where one layer brings a bias that the base model lacks, the
 * others get one of zeros, since biases are a property of the whole model. So is the width of heads: wide ones come in every
 * layer or in none.
 *
 * @throws KvlrError 'tensor-shape' where weights do not fit; 'invalid-argument' where heads of different widths meet.
 */
export function applyCompression(base: ModelSource, layers: readonly CompressedLayer[]): ModelSource {
  const byLayer = new Map(layers.map((layer) => [layer.layer, layer]));
  const shape = compressedShape(base.shape, byLayer);
  const nameOf = overlayModel(base, { shape, tensors: new Map(), id: base.id }).tensorName;
  const tensors = new Map<string, DenseTensor>();
  for (const tensor of decoderTensors(shape)) {
    const compressed = tensor.layer === undefined ? undefined : byLayer.get(tensor.layer);
    const name = nameOf(tensor.role, tensor.layer);
    const data = replacement(tensor, compressed, base.tensors.has(name));
    if (data !== undefined) tensors.set(name, { shape: tensor.shape, data });
  }
  return overlayModel(base, { shape, tensors, id: `${base.id}+${fingerprint(shape, tensors)}` });
}

function compressedShape(base: DecoderShape, byLayer: ReadonlyMap<number, CompressedLayer>): DecoderShape {
  const weights = [...byLayer.values()].map((layer) => layer.weights);
  const addsOutputBias = weights.some(({ outputBias }) => outputBias !== undefined);
  const addsInputBias = weights.some(({ queryBias, keyBias, valueBias }) => queryBias ?? keyBias ?? valueBias);
  // LLaMA's attention_bias covers q, k, v and o together: a bias on one of them needs all four.
  const had = base.attention;
  const inputBias = had.inputBias || addsInputBias || (addsOutputBias && !had.outputBias);
  const outputBias = had.outputBias || addsOutputBias || (inputBias && !had.inputBias);
  const widened = widenHeads(base, headWidthOf(base, byLayer));
  const shape: DecoderShape = {
    ...widened,
    attention: { ...widened.attention, inputBias, outputBias },
    layers: widened.layers.map((layer, index) => {
      const compressed = byLayer.get(index);
      if (compressed === undefined) return layer;
      return { ...layer, cache: cacheLayout(compressed), positions: orderedPositions(layer.positions, compressed) };
    }),
  };
  return { ...shape, numKeyValueHeads: uniformKeyValueHeads(shape) ?? base.numKeyValueHeads };
}

/**
 * The shape of a model with stock attention and the same KV heads in every layer, each `headWidth` times as wide as the base's.
 *
 * @throws KvlrError 'unsupported-feature' where heads of these positions cannot be widened.
 */
export function stockShape(base: DecoderShape, numKeyValueHeads: number, headWidth = 1): DecoderShape {
  const wide = widenHeads(base, headWidth);
  const cache = stockLayout(numKeyValueHeads, wide.headDim);
  return { ...wide, numKeyValueHeads, layers: wide.layers.map((layer) => ({ ...layer, cache })) };
}

/** ALiBi's slopes go with the query heads that they belong to. */
function orderedPositions(positions: PositionShape, { queryOrder }: CompressedLayer): PositionShape {
  if (positions.kind !== 'alibi') return positions;
  return { ...positions, slopes: queryOrder.map((head) => positions.slopes[head]!) };
}

/** Width of the compressed layers' heads in widths of the base's. */
function headWidthOf(base: DecoderShape, byLayer: ReadonlyMap<number, CompressedLayer>): number {
  const widths = base.layers.map((_, index) => {
    const compressed = byLayer.get(index);
    return compressed?.keys.kind === 'stock' ? compressed.slots.keySlotWidth : base.headDim;
  });
  const [first = base.headDim] = widths;
  const times = first / base.headDim;
  if (Number.isInteger(times) && widths.every((width) => width === first)) return times;
  throw new KvlrError('invalid-argument', {
    message: `expected heads of one width in all layers, a multiple of ${base.headDim}, got ${[...new Set(widths)].join(', ')}`,
    hint: 'Compress every layer to the same headWidth.',
    where: { argument: 'layers' },
    data: { widths },
  });
}

const weightOfRole = new Map<TensorRole, keyof AttentionWeights>(
  Object.entries(rolesOfAttentionWeights).map(([weight, role]) => [role, weight as keyof AttentionWeights]),
);

/** Numbers of a tensor that differs from the base's; undefined where the base's own is kept. */
function replacement(
  { role, shape }: DecoderTensor,
  compressed: CompressedLayer | undefined,
  isInBase: boolean,
): Float32Array | undefined {
  const weight = weightOfRole.get(role);
  const data = weight === undefined ? nativeWeight(role, compressed) : compressed?.weights[weight];
  if (data !== undefined) return Float32Array.from(data);
  const isBias = weight !== undefined && /^(query|key|value|output)Bias$/.test(weight);
  return isBias && (compressed !== undefined || !isInBase) ? new Float32Array(shape[0]!) : undefined;
}

function nativeWeight(role: TensorRole, compressed: CompressedLayer | undefined): Float64Array | undefined {
  const keys = compressed?.keys;
  if (keys?.kind === 'latent' && role === 'latentKeyEncoder') return keys.encoder;
  if (keys?.kind === 'latent' && role === 'latentQueryEncoder') return keys.queryEncoder;
  return keys?.kind === 'rebuilt' && role === 'rebuiltKeyDecoder' ? keys.decoder : undefined;
}

/**
 * A short name for changed tensors, equal for equal numbers: two FNV-1a hashes of 32 bits over the cache layouts, and names,
 * shapes and numbers of the tensors. It tells variants apart within a run; it is no protection against forgery.
 */
function fingerprint({ layers }: DecoderShape, tensors: ReadonlyMap<string, DenseTensor>): string {
  let low = 0x811c9dc5;
  let high = 0x01234567;
  const add = (word: number): void => {
    low = Math.imul(low ^ word, 0x01000193);
    high = Math.imul(high ^ word, 0x01000193) ^ (high >>> 15);
  };
  const addText = (text: string): void => {
    for (const character of text) add(character.codePointAt(0)!);
  };
  addText(JSON.stringify(layers.map(({ cache }) => cache)));
  for (const [name, { shape, data }] of tensors) {
    addText(`${name}[${shape}]`);
    for (const word of new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4)) add(word);
  }
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}

function nonFinite(model: string, tensor: string, element: number, value: number): KvlrError {
  return new KvlrError('non-finite', {
    message: `expected finite numbers in the changed tensor, got ${value} at element ${element}`,
    where: { tensor },
    data: { model, tensor, element, received: String(value) },
  });
}
