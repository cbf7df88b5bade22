import { KvlrError, type ModelSource } from '@kvlr/core';

/** The residual stream before the first layer, [tokens, hiddenSize] per window: rows of the embedding table. */
export async function embedWindows(model: ModelSource, windows: readonly Int32Array[]): Promise<Float32Array[]> {
  const { hiddenSize, vocabSize } = model.shape;
  const table = await model.tensors.readFloat32(model.tensorName('embedding'));
  return windows.map((tokenIds) => {
    const stream = new Float32Array(tokenIds.length * hiddenSize);
    tokenIds.forEach((id, position) => {
      if (id < 0 || id >= vocabSize) {
        throw new KvlrError('tokenizer-mismatch', {
          message: `embedWindows: expected token ids from 0 to ${vocabSize - 1}, got ${id}`,
          hint: 'Encode the calibration text with the tokenizer of this model.',
          data: { vocabSize, received: id },
        });
      }
      stream.set(table.subarray(id * hiddenSize, (id + 1) * hiddenSize), position * hiddenSize);
    });
    return stream;
  });
}
