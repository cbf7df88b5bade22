import { overlayModel } from '@kvlr/checkpoint';
import type { DenseTensor, ModelSource } from '@kvlr/core';
import type { ReconstructedLayer } from './reconstruction.ts';

/** The student with the attention of the given layers replaced by what block reconstruction found. */
export function applyReconstruction(student: ModelSource, layers: readonly ReconstructedLayer[]): ModelSource {
  const tensors = new Map<string, DenseTensor>(layers.flatMap((layer) => [...layer.tensors]));
  return overlayModel(student, { shape: student.shape, tensors, id: `${student.id}+${fingerprint(tensors)}` });
}

/** Equal for equal numbers, to tell variants apart within a run: FNV-1a over the tensors' 32-bit words. */
function fingerprint(tensors: ReadonlyMap<string, DenseTensor>): string {
  let hash = 0x811c9dc5;
  for (const { data } of tensors.values()) {
    const words = new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4);
    for (let index = 0; index < words.length; index++) hash = Math.imul(hash ^ words[index]!, 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, '0');
}
