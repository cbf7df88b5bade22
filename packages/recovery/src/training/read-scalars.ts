import { type Scalar, stack } from '@tensorflow/tfjs-core';

/** The values of some scalars, read together: a GPU is waited for once. The scalars are not disposed. */
export async function readScalars(scalars: readonly Scalar[]): Promise<number[]> {
  if (scalars.length === 0) return [];
  const together = stack([...scalars]);
  try {
    return Array.from(await together.data<'float32'>());
  } finally {
    together.dispose();
  }
}
