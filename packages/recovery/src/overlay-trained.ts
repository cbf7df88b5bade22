import { overlayModel } from '@kvlr/checkpoint';
import type { DenseTensor, ModelSource } from '@kvlr/core';

/** The model with trained tensors in the place of its own. Equal numbers give equal ids. */
export function overlayTrained(model: ModelSource, tensors: ReadonlyMap<string, DenseTensor>): ModelSource {
  return overlayModel(model, { shape: model.shape, tensors, id: `${model.id}+${fingerprint(tensors)}` });
}

/** FNV-1a over the tensors' 32-bit words: tells variants apart within a run. */
function fingerprint(tensors: ReadonlyMap<string, DenseTensor>): string {
  let hash = 0x811c9dc5;
  for (const { data } of tensors.values()) {
    const words = new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4);
    for (let index = 0; index < words.length; index++) hash = Math.imul(hash ^ words[index]!, 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, '0');
}
