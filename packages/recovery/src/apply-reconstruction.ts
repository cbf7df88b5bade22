import type { DenseTensor, ModelSource } from '@kvlr/core';
import { overlayTrained } from './overlay-trained.ts';
import type { ReconstructedLayer } from './reconstruction.ts';

/** The student with the attention of the given layers replaced by what block reconstruction found. */
export function applyReconstruction(student: ModelSource, layers: readonly ReconstructedLayer[]): ModelSource {
  return overlayTrained(student, new Map<string, DenseTensor>(layers.flatMap((layer) => [...layer.tensors])));
}
