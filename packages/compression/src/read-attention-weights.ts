import { type AttentionWeights, KvlrError, type ModelSource, type TensorRole } from '@kvlr/core';

/**
 * Reads the attention projections of one layer as Float64.
 *
 * @throws KvlrError 'tensor-shape' when a tensor's size does not fit the model's shape; 'tensor-missing' and 'non-finite'
 *   from the tensor source.
 */
export async function readAttentionWeights(source: ModelSource, layer: number): Promise<AttentionWeights> {
  const { numAttentionHeads, numKeyValueHeads, headDim, hiddenSize, attentionBias, outputBias } = source.shape;
  const read = async (role: TensorRole, ...shape: number[]): Promise<Float64Array> => {
    const name = source.tensorName(role, layer);
    const { shape: received } = source.tensors.info(name);
    if (received.length !== shape.length || received.some((size, index) => size !== shape[index])) {
      throw new KvlrError('tensor-shape', {
        message: `readAttentionWeights: expected ${name} of shape [${shape.join(', ')}], got [${received.join(', ')}]`,
        hint: 'The config and the tensors of this checkpoint do not belong together; fetch both again.',
        data: { tensor: name, expected: shape, received },
      });
    }
    return Float64Array.from(await source.tensors.readFloat32(name));
  };
  const queryWidth = numAttentionHeads * headDim;
  const keyWidth = numKeyValueHeads * headDim;
  const weights: AttentionWeights = {
    query: await read('queryWeight', queryWidth, hiddenSize),
    key: await read('keyWeight', keyWidth, hiddenSize),
    value: await read('valueWeight', keyWidth, hiddenSize),
    output: await read('outputWeight', hiddenSize, queryWidth),
  };
  if (attentionBias) {
    weights.queryBias = await read('queryBias', queryWidth);
    weights.keyBias = await read('keyBias', keyWidth);
    weights.valueBias = await read('valueBias', keyWidth);
  }
  if (outputBias) weights.outputBias = await read('outputBias', hiddenSize);
  return weights;
}
