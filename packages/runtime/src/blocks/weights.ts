import { type DecoderTensor, layerTensors, type ModelSource, readTensor, type TensorRole } from '@kvlr/core';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';

/**
 * Tensors of one layer, or those that are there once, on the device, by role; `decoderTensors` says which there are. Matrices are
 * [in, out], so that a block computes x W without transposing: `latentKeyEncoder` [keyHeads * headDim, keySlots * keySlotWidth],
 * `latentQueryEncoder` [numAttentionHeads, headDim, keySlotWidth], `rebuiltKeyDecoder` [keySlots, keySlotWidth, heads of the slot *
 * headDim]. Tables of rows (embedding, positions, head) are as in the file. Norms hold the scale itself, also where the file holds it
 * less one.
 */
export type TensorsByRole = { readonly [Role in TensorRole]?: Tensor };

/** The tensors of one layer. */
export type LayerTensors = TensorsByRole;

/** Whether rows of the tensor stand for tokens or positions; other matrices map columns to rows. */
export function isTable(role: TensorRole): boolean {
  return role === 'embedding' || role === 'positionEmbedding' || role === 'languageModelHead';
}

/**
 * Reads one layer's weights and puts them on the active backend. The caller disposes them (`disposeTensors`). Throws
 * 'tensor-missing' or 'tensor-shape'.
 */
export function uploadLayer(source: ModelSource, layer: number): Promise<LayerTensors> {
  return uploadTensors(source, layerTensors(source.shape, layer));
}

/** Puts tensors of a model on the active backend; on an error none of them stays there. Throws 'tensor-missing' or 'tensor-shape'. */
export async function uploadTensors(source: ModelSource, wanted: readonly DecoderTensor[]): Promise<TensorsByRole> {
  const uploaded: { [Role in TensorRole]?: Tensor } = {};
  try {
    for (const entry of wanted) {
      const values = await readTensor(source, entry);
      uploaded[entry.role] = isTable(entry.role) ? tensor(values, entry.shape) : uploadExchanged(values, entry.shape);
    }
  } catch (error) {
    disposeTensors(uploaded);
    throw error;
  }
  return uploaded;
}

/** Frees tensors by role. */
export function disposeTensors(tensors: TensorsByRole): void {
  for (const part of Object.values(tensors)) part.dispose();
}

/** Puts values of a shape on the active backend with their last two axes exchanged, or unchanged where there is only one. */
export function uploadExchanged(values: Float32Array, shape: readonly number[]): Tensor {
  if (shape.length < 2) return tensor(values, [...shape], 'float32');
  const [rows, columns] = shape.slice(-2) as [number, number];
  return tensor(exchangeLastAxes(values, rows, columns), [...shape.slice(0, -2), columns, rows], 'float32');
}

/** Values of a row-major tensor [..., rows, columns] as [..., columns, rows]. */
export function exchangeLastAxes(values: Float32Array, rows: number, columns: number): Float32Array {
  const exchanged = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += rows * columns) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        exchanged[start + column * rows + row] = values[start + row * columns + column]!;
      }
    }
  }
  return exchanged;
}
