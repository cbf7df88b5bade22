import type { TensorBundle } from '@kvlr/core';
import type { LayerHistory, ReconstructedLayer } from '@kvlr/recovery';

/** One reconstructed layer: its tensors under the model's names, the course of its errors as JSON. */
export function reconstructedLayerToBundle({ history, tensors }: ReconstructedLayer): TensorBundle {
  return { metadata: { history: JSON.stringify(history) }, tensors };
}

/** The inverse of `reconstructedLayerToBundle`. */
export function reconstructedLayerFromBundle({ metadata, tensors }: TensorBundle): ReconstructedLayer {
  const history = JSON.parse(metadata.history ?? '{}') as LayerHistory;
  return { layer: history.layer, tensors, history };
}
