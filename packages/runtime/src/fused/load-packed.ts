import { KvlrError, type TensorSource, throwIfAborted } from '@kvlr/core';
import { PackedMatrix } from '@kvlr/kernels';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { disposeFusedLayer, disposeFusedWeights, type FusedLayer, type FusedWeights } from './fused-weights.ts';
import { createRotation, type FusedLoading } from './load-fused-weights.ts';
import { type PackedPart, packedLayerParts, packedTableParts } from './packed-parts.ts';
import { PACKED_MODEL_TENSOR, packedModelMark } from './save-packed.ts';

/**
 * Weights that `savePacked` wrote, put on the active backend as they are: nothing is computed. Throws 'weights-mismatch' for the weights
 * of another model or format, 'tensor-missing', 'tensor-shape', 'aborted'; then nothing stays on the device.
 */
export async function loadPacked(
  packed: TensorSource,
  modelId: string,
  { shape, format, signal, onLoaded }: Omit<FusedLoading, 'read'>,
): Promise<FusedWeights> {
  const expected = packedModelMark(format, modelId);
  const mark = packed.has(PACKED_MODEL_TENSOR) ? await packed.readBytes(PACKED_MODEL_TENSOR) : new Uint8Array();
  if (mark.join() !== expected.join()) {
    const [wanted, received] = [expected, mark].map((bytes) => new TextDecoder().decode(bytes));
    throw new KvlrError('weights-mismatch', {
      message: `loadModel: expected packed weights "${wanted}" (format, model), got "${received}".`,
      hint: 'Load the checkpoint without `packed`, and save it again with savePacked.',
      data: { expected: wanted, received },
    });
  }
  const { numLayers } = shape;
  const loaded: Partial<FusedWeights> & { layers: FusedLayer[] } = { format, layers: [] };
  try {
    await loadParts(packed, '', packedTableParts(shape, format), loaded);
    for (let layer = 0; layer < numLayers; layer++) {
      throwIfAborted(signal);
      const values: Partial<FusedLayer> = {};
      try {
        await loadParts(packed, `layers.${layer}.`, packedLayerParts(shape, layer, format), values);
      } catch (error) {
        disposeFusedLayer(values);
        throw error;
      }
      loaded.layers.push(values as FusedLayer);
      onLoaded?.(layer + 1, numLayers + 1);
    }
    loaded.head ??= loaded.embedding;
    loaded.rotation = createRotation(shape);
    onLoaded?.(numLayers + 1, numLayers + 1);
  } catch (error) {
    disposeFusedWeights(loaded);
    throw error;
  }
  return loaded as FusedWeights;
}

async function loadParts(packed: TensorSource, prefix: string, parts: PackedPart[], values: object): Promise<void> {
  for (const part of parts) {
    const value = await loadPart(packed, prefix + part.name, part);
    Object.assign(values, { [part.name]: value });
  }
}

async function loadPart(packed: TensorSource, name: string, part: PackedPart): Promise<PackedMatrix | Tensor> {
  if (part.kind === 'tensor') {
    requireShape(packed, name, part.shape);
    return tensor(new Float32Array(await alignedBuffer(packed, name)), part.shape, 'float32');
  }
  const { format, rows, columns } = part;
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

function requireShape(packed: TensorSource, name: string, expected: number[]): void {
  const { shape } = packed.info(name);
  if (shape.join() === expected.join()) return;
  throw new KvlrError('tensor-shape', {
    message: `loadModel: expected packed tensor ${name} of shape [${expected}], got [${shape}].`,
    hint: 'Save the packed weights again: they were made by another version of kvlr.',
    data: { tensor: name, expected, received: shape },
  });
}

/** A tensor's bytes in a buffer of their own, where words may begin. */
async function alignedBuffer(packed: TensorSource, name: string): Promise<ArrayBuffer> {
  const bytes = await packed.readBytes(name);
  return bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer
    ? bytes.buffer
    : new Uint8Array(bytes).buffer;
}
