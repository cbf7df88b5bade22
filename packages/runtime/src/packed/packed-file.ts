import {
  type DecoderShape,
  type DecoderTensor,
  globalTensors,
  KvlrError,
  layerTensors,
  type TensorDtype,
  type TensorSink,
  type TensorSource,
} from '@kvlr/core';
import { PackedMatrix, packWeights, type WeightFormat } from '@kvlr/kernels';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { isTable } from '../blocks/weights.ts';
import {
  loadParts,
  type PackedLoading,
  type PackedPart,
  type PackedParts,
  type PackedWeights,
  packedParts,
  sizeOfPart,
} from './packed-weights.ts';

/** Name of the tensor that says whose weights these are, and in which format: UTF-8 of `format model-id`. */
const MODEL_TENSOR = 'kvlr.packed';

/** What `MODEL_TENSOR` holds. */
function modelMark(format: string, modelId: string): Uint8Array {
  return new TextEncoder().encode(`${format} ${modelId}`);
}

/** Name of a part in the file. */
function fileName({ name }: PackedPart, layer: number | undefined): string {
  return layer === undefined ? name : `layers.${layer}.${name}`;
}

/** Names and shapes of what `savePacked` writes for a decoder in a format, besides the mark of the model. */
export function packedTensorShapes(shape: DecoderShape, format: WeightFormat): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  const add = (tensors: readonly DecoderTensor[], layer?: number) => {
    for (const part of packedParts(tensors, format)) {
      const name = fileName(part, layer);
      if (part.format === undefined) {
        shapes.set(name, deviceSize(part));
        continue;
      }
      const [rows, columns] = sizeOfPart(part) as [number, number];
      const { words, scales } = packWeights(new Float32Array(columns), 1, columns, part.format);
      shapes.set(`${name}.words`, [rows, words.length]);
      if (scales.length > 0) shapes.set(`${name}.scales`, [rows, scales.length]);
    }
  };
  add(globalTensors(shape));
  for (let layer = 0; layer < shape.numLayers; layer++) add(layerTensors(shape, layer), layer);
  return shapes;
}

/** Writes packed weights as they lie on the device, part by part, and finishes the sink; aborts it on an error. */
export async function savePacked(
  weights: PackedWeights,
  shape: DecoderShape,
  modelId: string,
  sink: TensorSink,
): Promise<void> {
  const writeParts = async (values: PackedParts, tensors: readonly DecoderTensor[], layer?: number) => {
    for (const part of packedParts(tensors, weights.format)) {
      const name = fileName(part, layer);
      const matrix = values.matrices[part.name];
      if (matrix) await writeMatrix(sink, name, matrix);
      else await writeTensors(sink, name, [values.tensors[part.name]!], deviceSize(part));
    }
  };
  try {
    const mark = modelMark(weights.format, modelId);
    await sink.write(MODEL_TENSOR, 'U8', [mark.length], mark);
    await writeParts(weights.globals, globalTensors(shape));
    for (const [layer, values] of weights.layers.entries()) await writeParts(values, layerTensors(shape, layer), layer);
    await sink.finish();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

async function writeMatrix(sink: TensorSink, name: string, matrix: PackedMatrix): Promise<void> {
  const words = matrix.shards.map((shard) => shard.words);
  await writeTensors(sink, `${name}.words`, words, [matrix.rows, words[0]!.shape[1]!]);
  const scales = matrix.shards.flatMap((shard) => shard.scales ?? []);
  if (scales.length > 0) await writeTensors(sink, `${name}.scales`, scales, [matrix.rows, scales[0]!.shape[1]!]);
}

/** Writes tensors of the same width below each other as one. */
async function writeTensors(sink: TensorSink, name: string, parts: Tensor[], shape: number[]): Promise<void> {
  const bytes = new Uint8Array(4 * shape.reduce((product, size) => product * size, 1));
  let written = 0;
  for (const part of parts) {
    const values = (await part.data()) as Float32Array | Int32Array;
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), written);
    written += values.byteLength;
  }
  const dtype: TensorDtype = parts[0]!.dtype === 'int32' ? 'I32' : 'F32';
  await sink.write(name, dtype, shape, bytes);
}

/**
 * Weights that `savePacked` wrote, put on the active backend as they are: nothing is computed. Throws 'weights-mismatch' for the weights
 * of another model or format, 'tensor-missing', 'tensor-shape', 'aborted'; then nothing stays on the device.
 */
export async function loadPacked(
  packed: TensorSource,
  modelId: string,
  loading: PackedLoading,
): Promise<PackedWeights> {
  const expected = modelMark(loading.format, modelId);
  const mark = packed.has(MODEL_TENSOR) ? await packed.readBytes(MODEL_TENSOR) : new Uint8Array();
  if (mark.join() !== expected.join()) {
    const [wanted, received] = [expected, mark].map((bytes) => new TextDecoder().decode(bytes));
    throw new KvlrError('weights-mismatch', {
      message: `expected packed weights "${wanted}" (format, model), got "${received}".`,
      hint: 'Load the checkpoint without `packed`, and save it again with savePacked.',
      where: { argument: 'packed' },
      data: { expected: wanted, received },
    });
  }
  return loadParts(loading, (part, layer) => readPart(packed, fileName(part, layer), part));
}

async function readPart(packed: TensorSource, name: string, part: PackedPart): Promise<PackedMatrix | Tensor> {
  const { format } = part;
  if (format === undefined) {
    const shape = deviceSize(part);
    requireShape(packed, name, shape);
    return tensor(new Float32Array(await alignedBuffer(packed, name)), shape, 'float32');
  }
  const [rows, columns] = sizeOfPart(part) as [number, number];
  const matrix = new PackedMatrix({ format, rows, columns });
  try {
    const { words: firstWords, scales: firstScales } = matrix.shards[0]!;
    requireShape(packed, `${name}.words`, [rows, firstWords.shape[1]!]);
    if (firstScales) requireShape(packed, `${name}.scales`, [rows, firstScales.shape[1]!]);
    const buffer = await alignedBuffer(packed, `${name}.words`);
    const words = format === 'f32' ? new Float32Array(buffer) : new Int32Array(buffer);
    const scales = firstScales ? new Int32Array(await alignedBuffer(packed, `${name}.scales`)) : new Int32Array();
    matrix.writePacked(0, { format, rows, columns, words, scales });
  } catch (error) {
    matrix.dispose();
    throw error;
  }
  return matrix;
}

/** Size of an unpacked part as it lies on the device: but for tables, its last two axes exchanged. */
function deviceSize(part: PackedPart): number[] {
  const size = sizeOfPart(part);
  if (size.length < 2 || isTable(part.tensors[0]!.role)) return size;
  return [...size.slice(0, -2), size.at(-1)!, size.at(-2)!];
}

/** Numbers and words take four bytes each. */
function requireShape(packed: TensorSource, name: string, expected: number[]): void {
  const { shape, dtype } = packed.info(name);
  if (shape.join() === expected.join() && (dtype === 'F32' || dtype === 'I32')) return;
  throw new KvlrError('tensor-shape', {
    message: `expected shape [${expected}] in F32 or I32, got [${shape}] in ${dtype}.`,
    hint: 'Save the packed weights again: they were made by another version of kvlr.',
    where: { tensor: name },
    data: { tensor: name, expected, received: shape, dtype },
  });
}

/** A tensor's bytes in a buffer of their own, where words may begin. */
async function alignedBuffer(packed: TensorSource, name: string): Promise<ArrayBuffer> {
  const bytes = await packed.readBytes(name);
  return bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer
    ? bytes.buffer
    : new Uint8Array(bytes).buffer;
}
