import type { Tensor } from '@tensorflow/tfjs-core';

/** The values of a float32 tensor, which is disposed. */
export async function download(tensor: Tensor): Promise<Float32Array> {
  const values = (await tensor.data()) as Float32Array;
  tensor.dispose();
  return values;
}
