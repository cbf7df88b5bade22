import { projectAdd } from '@kvlr/kernels';
import { type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import type { DeviceFetching } from '../cache/device-fetching.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import { fusedFeedForward, projectHeads } from './packed-layer.ts';
import type { PackedWeights } from './packed-weights.ts';

/**
 * The stream of new tokens after all layers on the fused kernels, [tokens, hiddenSize], where attention waits for the host in each of them. Takes
 * over the stream before them; the caller disposes the one after.
 *
 * @param count Tokens that are real.
 */
export async function runWaitingLayers(
  embedded: Tensor2D,
  weights: PackedWeights,
  cache: KeyValueCache,
  fetching: DeviceFetching,
  count: number,
): Promise<Tensor2D> {
  const { shape, length } = cache;
  let stream = embedded;
  for (const [layer, parts] of weights.layers.entries()) {
    const before = stream;
    const projected = tidy(() => projectHeads(before, parts, shape));
    try {
      const attended = await fetching.attend(layer, projected, weights.rotations[layer]!, { length, count });
      stream = tidy(() => {
        const { matrices, tensors } = parts;
        const between = projectAdd(attended, matrices.output!, before, tensors.outputBias) as Tensor2D;
        return fusedFeedForward(between, parts, shape);
      });
      attended.dispose();
    } finally {
      projected.dispose();
      before.dispose();
    }
  }
  return stream;
}
