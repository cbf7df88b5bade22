import type { LayerActivations, TapName } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { download } from './download.ts';

/** What the taps of a layer show, read from the device one after another; frees the tensors. */
export async function downloadTaps(
  layer: number,
  tokens: number,
  taps: readonly TapName[],
  tapped: readonly (Tensor | undefined)[],
): Promise<LayerActivations> {
  const activations: LayerActivations = { layer, tokens };
  for (const [position, tap] of taps.entries()) activations[tap] = await download(tapped[position]!);
  return activations;
}
