import type { DecoderShape, TensorDtype, TensorSink } from '@kvlr/core';
import type { PackedMatrix } from '@kvlr/kernels';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { FusedWeights } from './fused-weights.ts';
import { type PackedPart, packedLayerParts, packedTableParts } from './packed-parts.ts';

/** Name of the tensor that says whose weights these are, and in which format: UTF-8 of `format model-id`. */
export const PACKED_MODEL_TENSOR = 'kvlr.packed';

/** What `PACKED_MODEL_TENSOR` holds. */
export function packedModelMark(format: string, modelId: string): Uint8Array {
  return new TextEncoder().encode(`${format} ${modelId}`);
}

/** Writes packed weights as they lie on the device, tensor by tensor, and finishes the sink; aborts it on an error. */
export async function savePacked(
  weights: FusedWeights,
  shape: DecoderShape,
  modelId: string,
  sink: TensorSink,
): Promise<void> {
  const writeParts = async (prefix: string, parts: PackedPart[], values: object) => {
    for (const part of parts) {
      const value = (values as Record<string, PackedMatrix | Tensor>)[part.name]!;
      const name = prefix + part.name;
      if (part.kind === 'tensor') await writeTensors(sink, name, [value as Tensor], part.shape);
      else await writeMatrix(sink, name, value as PackedMatrix);
    }
  };
  try {
    const mark = packedModelMark(weights.format, modelId);
    await sink.write(PACKED_MODEL_TENSOR, 'U8', [mark.length], mark);
    await writeParts('', packedTableParts(shape, weights.format), weights);
    for (const [layer, values] of weights.layers.entries()) {
      await writeParts(`layers.${layer}.`, packedLayerParts(shape, layer, weights.format), values);
    }
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
