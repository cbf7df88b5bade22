import type { ModelSource, TensorRole } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { exchangeLastAxes } from '../blocks/exchange-last-axes.ts';
import { layerParts } from '../blocks/layer-parts.ts';
import { readTensor } from '../blocks/upload-tensor.ts';
import type { DecoderTensors } from '../decoder/decoder-tensors.ts';

/** Gives the values of a tensor as the checkpoint has them: float32, matrices [out, in]. */
export type WeightReader = (
  role: TensorRole,
  layer: number | undefined,
  fileShape: readonly number[],
) => Promise<Float32Array>;

/** Reads from a checkpoint. Throws 'tensor-shape' where a tensor has another shape. */
export function readFromSource(source: ModelSource): WeightReader {
  return (role, layer, fileShape) => readTensor(source, role, layer, fileShape);
}

/** Reads back what `uploadDecoder` put on the device. */
export function readFromDevice(shape: ModelSource['shape'], tensors: DecoderTensors): WeightReader {
  return async (role, layer, fileShape) => {
    if (layer === undefined) {
      const whole = { embedding: tensors.embedding, languageModelHead: tensors.head, finalNorm: tensors.finalNorm };
      return (await whole[role as keyof typeof whole].data()) as Float32Array;
    }
    const part = layerParts(shape, layer).find(([, partRole]) => partRole === role)![0];
    return transposeBack(tensors.layers[layer]![part] as Tensor, fileShape);
  };
}

/** The values of a tensor whose last two axes were exchanged for the device. */
async function transposeBack(tensor: Tensor, fileShape: readonly number[]): Promise<Float32Array> {
  const values = (await tensor.data()) as Float32Array;
  if (fileShape.length < 2) return values;
  const [rows, columns] = fileShape.slice(-2) as [number, number];
  return exchangeLastAxes(values, columns, rows);
}
