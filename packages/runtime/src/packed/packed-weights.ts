import {
  type DecoderShape,
  type DecoderTensor,
  globalTensors,
  layerTensors,
  type ModelSource,
  readTensor,
  type TensorRole,
  throwIfAborted,
} from '@kvlr/core';
import { createRotationTable, PackedMatrix, packedByteLength, type WeightFormat } from '@kvlr/kernels';
import { ropeFrequencies } from '@kvlr/rope';
import { type Tensor, type Tensor2D, tensor, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { DecoderTensors } from '../blocks/stock-decoder.ts';
import { exchangeLastAxes, isTable, uploadExchanged } from '../blocks/weights.ts';
import { fusedAttentionFits } from '../cache/cached-attention.ts';

/** Positions that the rotation table reaches: a window may go on far beyond what the model was trained on. */
const MAX_POSITIONS = 2 ** 20;

/**
 * Tensors of a decoder that lie together on the device: one of them, or several of which the rows lie below each other. Packed
 * matrices are [out, in]; all else is float32, matrices [in, out].
 */
export interface PackedPart {
  name: string;
  tensors: DecoderTensor[];
  /** Of a packed matrix. */
  format?: WeightFormat;
}

/** Names of parts that are not the tensor's role, without 'Weight'. Tensors of equal name are one part. */
const names: { readonly [Role in TensorRole]?: string } = {
  queryWeight: 'queryKeyValue',
  keyWeight: 'queryKeyValue',
  valueWeight: 'queryKeyValue',
  queryBias: 'queryKeyValueBias',
  keyBias: 'queryKeyValueBias',
  valueBias: 'queryKeyValueBias',
  languageModelHead: 'head',
};

/** The parts that these tensors of a model make, when its matrices are packed in a format. */
export function packedParts(tensors: readonly DecoderTensor[], format: WeightFormat): PackedPart[] {
  const parts = new Map<string, PackedPart>();
  for (const tensor of tensors) {
    const name = names[tensor.role] ?? tensor.role.replace(/Weight$/, '');
    const packed = packedFormat(tensor.role, format);
    const part = parts.get(name) ?? { name, tensors: [], ...(packed && { format: packed }) };
    part.tensors.push(tensor);
    parts.set(name, part);
  }
  return [...parts.values()];
}

/** How a tensor is packed; undefined where it is kept as float32, which small matrices and all vectors are. */
function packedFormat(role: TensorRole, format: WeightFormat): WeightFormat | undefined {
  if (role.endsWith('Weight')) return format;
  return role === 'embedding' || role === 'languageModelHead' ? tableFormat(format) : undefined;
}

/** How the token embedding and the head are packed: 4 bits would cost them more than they save. */
export function tableFormat(format: WeightFormat): WeightFormat {
  return format === 'int4' ? 'int8' : format;
}

/** Exact bytes of one tensor on the device, when matrices are packed in a format. */
export function packedTensorBytes(
  { role, shape }: Pick<DecoderTensor, 'role' | 'shape'>,
  format: WeightFormat,
): number {
  const packed = packedFormat(role, format);
  return packed ? packedByteLength(packed, shape[0]!, shape[1]!) : 4 * shape.reduce((size, length) => size * length, 1);
}

/** Size of a part whose tensors lie below each other, [rows, ...]. */
export function sizeOfPart({ tensors }: PackedPart): number[] {
  return [tensors.reduce((rows, { shape }) => rows + shape[0]!, 0), ...tensors[0]!.shape.slice(1)];
}

/** Parts on the device, by name. */
export interface PackedParts {
  readonly matrices: Record<string, PackedMatrix>;
  readonly tensors: Record<string, Tensor>;
}

/** All weights of a decoder for the fused kernels. */
export interface PackedWeights {
  format: WeightFormat;
  globals: PackedParts;
  layers: PackedParts[];
  /** For each layer `createRotationTable` for every position that may occur; layers that are alike share one. */
  rotations: Tensor2D[];
}

/** Puts one part on the device. */
export type LoadPart = (part: PackedPart, layer: number | undefined) => Promise<PackedMatrix | Tensor>;

export interface PackedLoading {
  shape: DecoderShape;
  format: WeightFormat;
  signal?: AbortSignal | undefined;
  /** Called after each layer, and after embedding and head. */
  onLoaded?: ((parts: number, total: number) => void) | undefined;
}

/** Loads a model part by part; on an error or abort nothing stays on the device. */
export async function loadParts(loading: PackedLoading, load: LoadPart): Promise<PackedWeights> {
  const { shape, format, signal, onLoaded } = loading;
  const { numLayers } = shape;
  const loaded: PackedParts[] = [];
  const loadAll = async (tensors: readonly DecoderTensor[], layer?: number): Promise<PackedParts> => {
    const parts: PackedParts = { matrices: {}, tensors: {} };
    loaded.push(parts);
    for (const part of packedParts(tensors, format)) {
      const value = await load(part, layer);
      if (value instanceof PackedMatrix) parts.matrices[part.name] = value;
      else parts.tensors[part.name] = value;
    }
    return parts;
  };
  try {
    const globals = await loadAll(globalTensors(shape));
    const layers: PackedParts[] = [];
    for (let layer = 0; layer < numLayers; layer++) {
      throwIfAborted(signal);
      layers.push(await loadAll(layerTensors(shape, layer), layer));
      onLoaded?.(layer + 1, numLayers + 1);
    }
    const rotations = createRotations(shape);
    onLoaded?.(numLayers + 1, numLayers + 1);
    return { format, globals, layers, rotations };
  } catch (error) {
    for (const parts of loaded) disposeParts(parts);
    throw error;
  }
}

/** Frees a model's weights. */
export function disposePackedWeights({ globals, layers, rotations }: PackedWeights): void {
  for (const parts of [globals, ...layers]) disposeParts(parts);
  for (const rotation of new Set(rotations)) rotation.dispose();
}

function disposeParts({ matrices, tensors }: PackedParts): void {
  for (const part of [...Object.values(matrices), ...Object.values(tensors)]) part.dispose();
}

/** The rotation table of each layer, [rows, headDim]. It turns nothing where the kernels cannot rotate as the layer asks. */
function createRotations(shape: DecoderShape): Tensor2D[] {
  const { headDim } = shape;
  const made = new Map<string, Tensor2D>();
  return shape.layers.map(({ positions }, layer) => {
    const rope = positions.kind === 'rope' && fusedAttentionFits(shape, layer) ? positions.rope : undefined;
    const key = JSON.stringify(rope ?? null);
    const { frequencies, attentionFactor } = rope
      ? ropeFrequencies(rope, headDim)
      : { frequencies: new Float64Array(Math.ceil(headDim / 2)), attentionFactor: 1 };
    const rotation = made.get(key) ?? createRotation(frequencies, attentionFactor);
    made.set(key, rotation);
    return rotation;
  });
}

function createRotation(frequencies: Float64Array, factor: number): Tensor2D {
  const width = 2 * frequencies.length;
  const table = createRotationTable(frequencies, MAX_POSITIONS);
  // A position's rotation is the product of two rows.
  const ofRow = Math.sqrt(factor);
  const values = factor === 1 ? table : table.map((value) => ofRow * value);
  return tensor2d(values, [table.length / width, width]);
}

/** Gives the values of a tensor as the decoder uses them: float32, matrices [out, in]. */
export type WeightReader = (tensor: DecoderTensor) => Promise<Float32Array>;

/** Reads from a checkpoint. Throws 'tensor-shape' where a tensor has another shape. */
export function readFromSource(source: ModelSource): WeightReader {
  return (tensor) => readTensor(source, tensor);
}

/** Reads back what `uploadDecoder` put on the device. */
export function readFromDevice({ globals, layers }: DecoderTensors): WeightReader {
  return async ({ role, layer, shape }) => {
    const values = (await (layer === undefined ? globals : layers[layer]!)[role]!.data()) as Float32Array;
    if (shape.length < 2 || isTable(role)) return values;
    const [rows, columns] = shape.slice(-2) as [number, number];
    return exchangeLastAxes(values, columns, rows);
  };
}

/**
 * Packs a model's weights onto the active backend, one part at a time, so that the heap holds one part beyond what the device does.
 * On an error or abort nothing stays there. Throws 'tensor-missing', 'tensor-shape', 'non-finite', 'aborted'.
 */
export function packDecoder(loading: PackedLoading & { read: WeightReader }): Promise<PackedWeights> {
  return loadParts(loading, async (part) => {
    const values: Float32Array[] = [];
    for (const tensor of part.tensors) values.push(await loading.read(tensor));
    if (part.format !== undefined) return packRows(part.format, part.tensors[0]!.shape[1]!, values);
    if (part.tensors.length > 1) return tensor1d(Float32Array.from(values.flatMap((each) => [...each])));
    const { role, shape } = part.tensors[0]!;
    // But for tables exchanged: kernels whose lanes run along the output read neighbouring numbers.
    return isTable(role) ? tensor(values[0]!, shape) : uploadExchanged(values[0]!, shape);
  });
}

/** One packed matrix of several ones below each other. */
function packRows(format: WeightFormat, columns: number, parts: readonly Float32Array[]): PackedMatrix {
  const counts = parts.map((part) => part.length / columns);
  const matrix = new PackedMatrix({ format, rows: counts.reduce((sum, count) => sum + count, 0), columns });
  try {
    let firstRow = 0;
    parts.forEach((part, index) => {
      matrix.write(firstRow, part);
      firstRow += counts[index]!;
    });
  } catch (error) {
    matrix.dispose();
    throw error;
  }
  return matrix;
}
