import { type DecoderShape, type TensorRole, throwIfAborted } from '@kvlr/core';
import { createRotationTable, PackedMatrix, type WeightFormat } from '@kvlr/kernels';
import { ropeFrequencies } from '@kvlr/rope';
import { type Tensor, type Tensor2D, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import { layerParts } from '../blocks/layer-parts.ts';
import { uploadExchanged } from '../blocks/upload-tensor.ts';
import { disposeFusedLayer, disposeFusedWeights, type FusedLayer, type FusedWeights } from './fused-weights.ts';
import type { WeightReader } from './weight-reader.ts';

/** Positions that the rotation table reaches: a window may go on far beyond what the model was trained on. */
const MAX_POSITIONS = 2 ** 20;

export interface FusedLoading {
  shape: DecoderShape;
  format: WeightFormat;
  read: WeightReader;
  signal?: AbortSignal | undefined;
  /** Called after each layer, and after embedding and head. */
  onLoaded?: ((parts: number, total: number) => void) | undefined;
}

/** How the token embedding and the head are packed: 4 bits would cost them more than they save. */
export function tableFormat(format: WeightFormat): WeightFormat {
  return format === 'int4' ? 'int8' : format;
}

/**
 * Packs a model's weights onto the active backend, one tensor at a time, so that the heap holds one tensor beyond what the device
 * does. On an error or abort nothing stays there. Throws 'tensor-missing', 'tensor-shape', 'non-finite', 'aborted'.
 */
export async function loadFusedWeights(loading: FusedLoading): Promise<FusedWeights> {
  const { shape, format, read, signal, onLoaded } = loading;
  const { vocabSize, hiddenSize, numLayers } = shape;
  const table = async (role: 'embedding' | 'languageModelHead') =>
    packRows(tableFormat(format), hiddenSize, [await read(role, undefined, [vocabSize, hiddenSize])]);
  const loaded: Partial<FusedWeights> & { layers: FusedLayer[] } = { format, layers: [] };
  try {
    loaded.embedding = await table('embedding');
    for (let layer = 0; layer < numLayers; layer++) {
      throwIfAborted(signal);
      loaded.layers.push(await loadLayer(loading, layer));
      onLoaded?.(layer + 1, numLayers + 1);
    }
    loaded.finalNorm = tensor1d(await read('finalNorm', undefined, [hiddenSize]));
    loaded.head = shape.tieWordEmbeddings ? loaded.embedding : await table('languageModelHead');
    loaded.rotation = createRotation(shape);
    onLoaded?.(numLayers + 1, numLayers + 1);
  } catch (error) {
    disposeFusedWeights(loaded);
    throw error;
  }
  return loaded as FusedWeights;
}

/** The rotation table of a model, [rows, headDim]. */
export function createRotation({ rope, headDim }: DecoderShape): Tensor2D {
  const table = createRotationTable(ropeFrequencies(rope, headDim), MAX_POSITIONS);
  return tensor2d(table, [table.length / headDim, headDim]);
}

async function loadLayer({ shape, format, read }: FusedLoading, layer: number): Promise<FusedLayer> {
  const parts = layerParts(shape, layer);
  const shapeOf = (role: TensorRole) => parts.find(([, partRole]) => partRole === role)?.[2];
  const values = (role: TensorRole) => read(role, layer, shapeOf(role)!);
  const matrix = async (...roles: TensorRole[]) =>
    packRows(format, shapeOf(roles[0]!)![1]!, await inOrder(roles, values));
  const vector = async (...roles: TensorRole[]) => {
    if (roles.some((role) => shapeOf(role) === undefined)) return undefined;
    return tensor1d(Float32Array.from((await inOrder(roles, values)).flatMap((part) => [...part])));
  };
  // Kernels whose lanes run along the output read neighbouring numbers.
  const exchanged = async (role: TensorRole) => {
    const fileShape = shapeOf(role);
    return fileShape && uploadExchanged(await values(role), fileShape);
  };
  const loaded: Partial<Record<keyof FusedLayer, Tensor | PackedMatrix>> = {};
  const steps: [keyof FusedLayer, () => Promise<Tensor | PackedMatrix | undefined>][] = [
    ['attentionNorm', () => vector('attentionNorm')],
    ['queryKeyValue', () => matrix('queryWeight', 'keyWeight', 'valueWeight')],
    ['queryKeyValueBias', () => vector('queryBias', 'keyBias', 'valueBias')],
    ['output', () => matrix('outputWeight')],
    ['outputBias', () => vector('outputBias')],
    ['latentKeyEncoder', () => exchanged('latentKeyEncoder')],
    ['latentQueryEncoder', () => exchanged('latentQueryEncoder')],
    ['rebuiltKeyDecoder', () => exchanged('rebuiltKeyDecoder')],
    ['feedForwardNorm', () => vector('feedForwardNorm')],
    ['gate', () => matrix('gateWeight')],
    ['up', () => matrix('upWeight')],
    ['down', () => matrix('downWeight')],
    ['gateBias', () => vector('gateBias')],
    ['upBias', () => vector('upBias')],
    ['downBias', () => vector('downBias')],
  ];
  try {
    for (const [part, load] of steps) {
      const value = await load();
      if (value !== undefined) loaded[part] = value;
    }
  } catch (error) {
    disposeFusedLayer(loaded as Partial<FusedLayer>);
    throw error;
  }
  return loaded as unknown as FusedLayer;
}

async function inOrder<Key, Value>(keys: readonly Key[], read: (key: Key) => Promise<Value>): Promise<Value[]> {
  const values: Value[] = [];
  for (const key of keys) values.push(await read(key));
  return values;
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
