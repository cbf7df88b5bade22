import {
  countElements,
  type DecoderShape,
  type DecoderTensor,
  decoderTensors,
  isLayerRole,
  isNativeRole,
  KvlrError,
  type TensorRole,
} from '@kvlr/core';
import type {
  ArchitectureDescriptor,
  FusedTensor,
  NamedTensorRole,
  TensorNames,
} from '../architectures/architecture.ts';
import { stockHeads } from '../config/native.ts';

/** Names of the tensors that only kvlr's own layouts of keys have; the same for every family. */
const nativeNames = {
  latentKeyEncoder: 'model.layers.{layer}.self_attn.k_latent.weight',
  latentQueryEncoder: 'model.layers.{layer}.self_attn.q_latent.weight',
  rebuiltKeyDecoder: 'model.layers.{layer}.self_attn.k_rebuild.weight',
} as const;

/** Name of a tensor that only kvlr's own layouts of keys have. */
export function nativeTensorName(role: keyof typeof nativeNames, layer: number | undefined): string {
  return fillLayer(nativeNames[role], role, layer);
}

/** A tensor of the decoder, or some rows of one, and where it lies in a stored one. */
export interface StoredPart extends DecoderTensor {
  /** Name of the tensor in the model, which differs from the stored one's where that holds more, or lies otherwise. */
  name: string;
  /** Its output rows in the stored matrix, ranges [from, to) in its own order. */
  rows: [from: number, to: number][];
  /** Where other rows of the decoder's tensor lie elsewhere: the first of these, and how many it has in all. `shape` is that of these. */
  piece?: { from: number; of: number };
}

/** A tensor as the files hold it. */
export interface StoredTensor {
  name: string;
  shape: number[];
  /** True where the file holds [in, out]. */
  transposed: boolean;
  parts: StoredPart[];
}

/** Whether a stored tensor is one of the decoder's, in the same shape. */
export function isPlain({ shape, parts: [first, ...more], transposed }: StoredTensor): boolean {
  return more.length === 0 && !transposed && first!.piece === undefined && shape.length === first!.shape.length;
}

/** Where a tensor lies, as the family's description says. */
interface Place {
  template: string;
  transposed?: boolean;
  /** True for a norm whose scales lie as [heads, headDim]. */
  byHeads?: boolean;
  fused?: FusedTensor;
}

/** Where the tensors of one checkpoint lie: the family's names, with the choices among them made. */
export interface TensorLayout {
  /** Name in the model. The language model head of tied embeddings is the embedding. */
  tensorName(role: TensorRole, layer?: number): string;
  /** Every tensor that the files of a decoder of this shape hold. */
  stored(shape: DecoderShape): StoredTensor[];
}

/**
 * The layout of a family's checkpoints. Of alternative names and prefixes the first is taken that `has` knows in layer 0, else
 * the first.
 */
export function tensorLayout(
  architecture: ArchitectureDescriptor,
  tied: boolean,
  has: (name: string) => boolean = () => false,
): TensorLayout {
  const places = placesOf(architecture, has);
  const placeOf = (role: TensorRole): Place => {
    if (isNativeRole(role)) return { template: nativeNames[role] };
    const place = places.get(role === 'languageModelHead' && tied ? 'embedding' : role);
    if (place !== undefined) return place;
    throw new KvlrError('plugin-invalid', {
      message: `expected a name for the tensor that this family's models have, got none`,
      hint: 'Name it in the description of the family.',
      where: { argument: `tensors.${role}` },
      data: { architecture: architecture.name, role },
    });
  };
  const tensorName: TensorLayout['tensorName'] = (role, layer) => {
    const { template, transposed, byHeads, fused } = placeOf(role);
    const name = fillLayer(template, role, layer).replace('{head}', '*');
    const isOwn = !transposed && !byHeads && fused === undefined && !template.includes('{head}');
    return isOwn ? name : `${name}[${role}]`;
  };
  return {
    tensorName,
    stored(shape) {
      const byName = new Map<string, { place: Place; tensors: DecoderTensor[] }>();
      for (const tensor of decoderTensors(shape)) {
        const place = placeOf(tensor.role);
        const name = fillLayer(place.template, tensor.role, tensor.layer);
        const held = byName.get(name) ?? { place, tensors: [] };
        if (held.tensors.length > 0 && place.fused === undefined)
          throw sharedName(architecture, name, tensor, held.tensors[0]!);
        held.tensors.push(tensor);
        byName.set(name, held);
      }
      return [...byName].flatMap(([name, { place, tensors }]) =>
        name.includes('{head}')
          ? storedByHead(name, tensors[0]!, shape, tensorName)
          : storedTensor(name, place, tensors, shape, tensorName),
      );
    },
  };
}

function storedTensor(
  name: string,
  { transposed, byHeads, fused }: Place,
  tensors: DecoderTensor[],
  shape: DecoderShape,
  nameOf: TensorLayout['tensorName'],
): StoredTensor {
  const order = fused?.roles ?? [];
  const inOrder = tensors.toSorted((a, b) => rank(order, a) - rank(order, b));
  const { layer } = inOrder[0]!;
  const cache = layer === undefined ? undefined : shape.layers[layer]!.cache;
  const heads = fused?.order === 'heads' && cache ? (stockHeads(cache, shape.headDim) ?? 1) : 1;
  const rowCounts = inOrder.map((tensor) => tensor.shape[0]!);
  const rows = rowCounts.reduce((sum, count) => sum + count, 0);
  let first = 0;
  const parts = inOrder.map((tensor, position): StoredPart => {
    const share = rowCounts[position]! / heads;
    const start = first;
    first += share;
    const ranges = Array.from({ length: heads }, (_, head): [number, number] => {
      const from = start + (head * rows) / heads;
      return [from, from + share];
    });
    return { ...tensor, name: nameOf(tensor.role, tensor.layer), rows: heads === 1 ? [[start, first]] : ranges };
  });
  const columns = inOrder[0]!.shape.slice(1);
  const stored = byHeads ? [rows / shape.headDim, shape.headDim] : [rows, ...columns];
  const isTransposed = transposed === true && columns.length === 1;
  return { name, shape: isTransposed ? stored.reverse() : stored, transposed: isTransposed, parts };
}

/** One stored tensor for each head, of the head's rows. */
function storedByHead(
  template: string,
  tensor: DecoderTensor,
  { headDim }: DecoderShape,
  nameOf: TensorLayout['tensorName'],
): StoredTensor[] {
  const [of, ...columns] = tensor.shape as [number, ...number[]];
  return Array.from({ length: of / headDim }, (_, head) => {
    const shape = [headDim, ...columns];
    const name = nameOf(tensor.role, tensor.layer);
    const part: StoredPart = { ...tensor, name, shape, rows: [[0, headDim]], piece: { from: head * headDim, of } };
    return { name: template.replace('{head}', String(head)), shape, transposed: false, parts: [part] };
  });
}

/** Biases are ranked as their weights. */
function rank(roles: readonly TensorRole[], { role }: DecoderTensor): number {
  return roles.indexOf(role.replace(/Bias$/, 'Weight') as TensorRole);
}

/** The place of each role that the family names, and of the biases that are named after weights. */
function placesOf(
  { tensors, fused, prefixes = [''], shape }: ArchitectureDescriptor,
  has: (name: string) => boolean,
): Map<TensorRole, Place> {
  const namesOf = (names: TensorNames): string[] =>
    prefixes.flatMap((prefix) => [names].flat().map((name) => name.replace('{prefix}', prefix)));
  const choose = (names: TensorNames): string => {
    const all = namesOf(names);
    return all.find((name) => has(name.replace('{layer}', '0').replace('{head}', '0'))) ?? all[0]!;
  };
  const places = new Map<TensorRole, Place>();
  for (const tensor of fused) {
    const template = choose(tensor.name);
    for (const role of tensor.roles) {
      places.set(role, { template, transposed: tensor.transposed === true, fused: tensor });
    }
  }
  for (const [role, given] of Object.entries(tensors)) {
    const [names, transposed] = typeof given === 'object' && 'name' in given ? [given.name, true] : [given, false];
    const template = choose(names);
    const isNormOfHeads = shape.attention?.queryKeyNorm?.over === 'heads' && /^(query|key)Norm$/.test(role);
    const byHeads = isNormOfHeads && !template.includes('{head}');
    places.set(role as NamedTensorRole, { template, transposed, byHeads });
  }
  for (const [role, place] of [...places]) {
    const bias = (role.endsWith('Weight') ? role.replace(/Weight$/, 'Bias') : `${role}Bias`) as TensorRole;
    if (places.has(bias)) continue;
    places.set(bias, { ...place, template: `${place.template.replace(/\.weight$/, '')}.bias`, transposed: false });
  }
  return places;
}

/** Puts the layer's number into a name. Throws 'invalid-argument' without one. */
function fillLayer(template: string, role: TensorRole, layer: number | undefined): string {
  if (!isLayerRole(role)) return template;
  if (layer !== undefined) return template.replace('{layer}', String(layer));
  throw new KvlrError('invalid-argument', {
    message: `expected a layer for the role ${role}, got none`,
    data: { role },
  });
}

function sharedName(
  { name }: ArchitectureDescriptor,
  tensor: string,
  one: DecoderTensor,
  other: DecoderTensor,
): KvlrError {
  return new KvlrError('plugin-invalid', {
    message: `expected another name than that of ${other.role}, got ${tensor}`,
    hint: 'Tensors that are stored as one are named under `fused`.',
    where: { argument: `tensors.${one.role}` },
    data: { architecture: name, tensor, roles: [one.role, other.role] },
  });
}

/** The bytes of one part, [out, in], from those of the stored tensor. `size`: bytes of a number. */
export function cutPart(stored: StoredTensor, part: StoredPart, bytes: Uint8Array, size: number): Uint8Array {
  const target = new Uint8Array(countElements(part.shape) * size);
  copyRows(stored, part, numbers(target, size), numbers(bytes, size), (own, theirs) => [own, theirs]);
  return target;
}

/** The bytes of a stored tensor from those of its parts, in their order. */
export function joinParts(stored: StoredTensor, parts: readonly Uint8Array[], size: number): Uint8Array {
  const target = new Uint8Array(countElements(stored.shape) * size);
  stored.parts.forEach((part, position) => {
    copyRows(stored, part, numbers(target, size), numbers(parts[position]!, size), (own, theirs) => [theirs, own]);
  });
  return target;
}

type Numbers = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

/** The same bytes as numbers of this size, whatever they mean. */
function numbers(bytes: Uint8Array, size: number): Numbers {
  const { buffer, byteOffset, byteLength } = byteOffsetFits(bytes, size) ? bytes : bytes.slice();
  const types = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array };
  return new types[size as keyof typeof types](buffer as ArrayBuffer, byteOffset, byteLength / size);
}

function byteOffsetFits({ byteOffset }: Uint8Array, size: number): boolean {
  return byteOffset % size === 0;
}

/** Copies the numbers of a part from or to the stored tensor; `places` says which of the two is the target. */
function copyRows(
  { shape, transposed }: StoredTensor,
  { rows, shape: partShape }: StoredPart,
  target: Numbers,
  source: Numbers,
  places: (own: number, theirs: number) => [target: number, source: number],
): void {
  const width = transposed ? shape[0]! : countElements(partShape.slice(1));
  let row = 0;
  for (const [from, to] of rows) {
    if (transposed) {
      for (let stored = from; stored < to; stored++) {
        const [start, first] = places((row + stored - from) * width, stored);
        const [step, stride] = places(1, shape[1]!);
        for (let column = 0; column < width; column++) target[start + column * step] = source[first + column * stride]!;
      }
    } else {
      const [start, first] = places(row * width, from * width);
      target.set(source.subarray(first, first + (to - from) * width) as never, start);
    }
    row += to - from;
  }
}
