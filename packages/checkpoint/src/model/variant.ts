import {
  type AttentionWeights,
  type CachedKeys,
  type CompressedLayer,
  countElements,
  type DecoderShape,
  type DecoderTensor,
  type DenseTensor,
  decoderTensors,
  isNativeRole,
  KvlrError,
  type LayerCacheLayout,
  type ModelSource,
  type PositionShape,
  readRows,
  rolesOfAttentionWeights,
  stockLayout,
  type TensorInfo,
  type TensorRole,
} from '@kvlr/core';
import { widenHeads } from '@kvlr/rope';
import { uniformKeyValueHeads } from '../config/native.ts';
import { findNonFinite, requireLength, tensorByteLength } from '../dtypes.ts';
import { nativeTensorName } from './stored-tensors.ts';

/** A float32 tensor that is made or read anew whenever it is asked for, row-major. */
export interface DeferredTensor {
  shape: number[];
  read(): Promise<Float32Array>;
}

export interface ModelChanges {
  shape: DecoderShape;
  /** Tensors that are replaced or added, by name. */
  tensors: ReadonlyMap<string, DenseTensor | DeferredTensor>;
  id: string;
}

/**
 * A variant of a model: some tensors changed, in memory or wherever they are read from, the others still read from the base when asked
 * for. Throws 'tensor-shape' where a tensor has more or fewer numbers than its shape.
 */
export function overlayModel(base: ModelSource, { shape, tensors: changed, id }: ModelChanges): ModelSource {
  for (const [name, tensor] of changed) {
    if ('data' in tensor) requireLength(name, tensor.shape, tensor.data.length);
  }
  const infoOf = (name: string): TensorInfo => {
    const tensor = changed.get(name);
    if (tensor === undefined) return base.tensors.info(name);
    const dtype = 'data' in tensor && tensor.data instanceof Float64Array ? 'F64' : 'F32';
    return { name, dtype, shape: [...tensor.shape], byteLength: tensorByteLength(dtype, tensor.shape) };
  };
  const dataOf = async (name: string): Promise<DenseTensor['data'] | undefined> => {
    const tensor = changed.get(name);
    if (tensor === undefined || 'data' in tensor) return tensor?.data;
    const data = await tensor.read();
    requireLength(name, tensor.shape, data.length);
    return data;
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
        const data = await dataOf(name);
        return data === undefined ? base.tensors.readBytes(name) : new Uint8Array(data.slice().buffer);
      },
      async readFloat32(name) {
        const data = await dataOf(name);
        if (data === undefined) return base.tensors.readFloat32(name);
        const values = Float32Array.from(data);
        const element = findNonFinite(values);
        if (element !== undefined) throw nonFinite(id, name, element, values[element]!);
        return values;
      },
      async readRows(name, from, to) {
        if (!changed.has(name)) return readRows(base.tensors, name, from, to);
        const width = countElements(infoOf(name).shape.slice(1));
        return (await this.readFloat32(name)).subarray(from * width, to * width);
      },
      // The base stays open: other variants may share it, and whoever opened it closes it.
      close: async () => {},
    },
  };
}

/** A compressed layer whose numbers lie elsewhere: what has to be known of it without them. */
export interface KeptLayer extends Omit<CompressedLayer, 'weights' | 'keys'> {
  keys: Pick<CachedKeys, 'kind'>;
  /** How many numbers each of its weights, and of the matrices of its keys, holds. */
  lengths: Readonly<Record<string, number>>;
  /** Equal for equal numbers; see `keptLayer`. */
  fingerprint: string;
  read(): Promise<CompressedLayer>;
}

/** What has to be known of a compressed layer to apply it, and where it is read again. */
export function keptLayer(layer: CompressedLayer, read: () => Promise<CompressedLayer>): KeptLayer {
  const { weights, keys, ...rest } = layer;
  const { kind, ...matrices } = keys;
  const numbers = Object.entries<Float64Array | undefined>({ ...weights, ...matrices }).filter(
    (entry): entry is [string, Float64Array] => entry[1] !== undefined,
  );
  return {
    ...rest,
    keys: { kind },
    lengths: Object.fromEntries(numbers.map(([name, { length }]) => [name, length])),
    fingerprint: fingerprint(numbers),
    read,
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
export function applyCompression(base: ModelSource, layers: readonly (CompressedLayer | KeptLayer)[]): ModelSource {
  const kept = layers.map((layer) => ('read' in layer ? layer : keptLayer(layer, async () => layer)));
  const byLayer = new Map(kept.map((layer) => [layer.layer, layer]));
  const shape = compressedShape(base.shape, byLayer);
  const nameOf = overlayModel(base, { shape, tensors: new Map(), id: base.id }).tensorName;
  const tensors = new Map<string, DeferredTensor>();
  for (const tensor of decoderTensors(shape)) {
    const layer = tensor.layer === undefined ? undefined : byLayer.get(tensor.layer);
    const name = nameOf(tensor.role, tensor.layer);
    const read = replacement(tensor, layer, base.tensors.has(name), name);
    if (read !== undefined) tensors.set(name, { shape: tensor.shape, read });
  }
  const layouts = shape.layers.map(({ cache }) => cache);
  const id = fingerprint([[JSON.stringify([layouts, kept.map((layer) => [layer.layer, layer.fingerprint])]), unread]]);
  return overlayModel(base, { shape, tensors, id: `${base.id}+${id}` });
}

const unread = new Float64Array(0);

function compressedShape(base: DecoderShape, byLayer: ReadonlyMap<number, KeptLayer>): DecoderShape {
  const brings = (...weights: (keyof AttentionWeights)[]) =>
    [...byLayer.values()].some(({ lengths }) => weights.some((weight) => weight in lengths));
  const addsOutputBias = brings('outputBias');
  const addsInputBias = brings('queryBias', 'keyBias', 'valueBias');
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
      return { ...layer, cache: layoutOf(compressed), positions: orderedPositions(layer.positions, compressed) };
    }),
  };
  return { ...shape, numKeyValueHeads: uniformKeyValueHeads(shape) ?? base.numKeyValueHeads };
}

function layoutOf({ slots, keys }: KeptLayer): LayerCacheLayout {
  return { ...slots, keys: keys.kind };
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
function orderedPositions(positions: PositionShape, { queryOrder }: KeptLayer): PositionShape {
  if (positions.kind !== 'alibi') return positions;
  return { ...positions, slopes: queryOrder.map((head) => positions.slopes[head]!) };
}

/** Width of the compressed layers' heads in widths of the base's. */
function headWidthOf(base: DecoderShape, byLayer: ReadonlyMap<number, KeptLayer>): number {
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

/**
 * Reads a tensor that differs from the base's; undefined where the base's own is kept. Throws 'tensor-shape' where its numbers do not
 * fit.
 */
function replacement(
  { role, shape }: DecoderTensor,
  layer: KeptLayer | undefined,
  isInBase: boolean,
  name: string,
): DeferredTensor['read'] | undefined {
  const weight = weightOfRole.get(role);
  const matrix = weight ?? nativeMatrix(role, layer);
  const length = matrix === undefined ? undefined : layer?.lengths[matrix];
  if (layer !== undefined && matrix !== undefined && length !== undefined) {
    requireLength(name, shape, length);
    return async () => {
      const { weights, keys } = await layer.read();
      return Float32Array.from({ ...keys, ...weights }[matrix as keyof AttentionWeights]!);
    };
  }
  const isBias = weight !== undefined && /^(query|key|value|output)Bias$/.test(weight);
  return isBias && (layer !== undefined || !isInBase) ? async () => new Float32Array(shape[0]!) : undefined;
}

/** Which matrix of a layer's keys a tensor of kvlr's own layouts is. */
function nativeMatrix(role: TensorRole, layer: KeptLayer | undefined): string | undefined {
  const kind = layer?.keys.kind;
  if (kind === 'latent' && role === 'latentKeyEncoder') return 'encoder';
  if (kind === 'latent' && role === 'latentQueryEncoder') return 'queryEncoder';
  return kind === 'rebuilt' && role === 'rebuiltKeyDecoder' ? 'decoder' : undefined;
}

/**
 * A short name for named numbers, equal for equal ones: two FNV-1a hashes of 32 bits over names and bits. It tells variants apart
 * within a run; it is no protection against forgery.
 */
function fingerprint(named: readonly [name: string, numbers: Float64Array][]): string {
  let low = 0x811c9dc5;
  let high = 0x01234567;
  const add = (word: number): void => {
    low = Math.imul(low ^ word, 0x01000193);
    high = Math.imul(high ^ word, 0x01000193) ^ (high >>> 15);
  };
  for (const [name, numbers] of named) {
    for (const character of name) add(character.codePointAt(0)!);
    for (const word of new Uint32Array(Float32Array.from(numbers).buffer)) add(word);
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
