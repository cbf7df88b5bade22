import { type DeferredTensor, overlayModel } from '@kvlr/checkpoint';
import type { DenseTensor, ModelSource } from '@kvlr/core';

/**
 * The model with trained tensors in the place of its own.
 *
 * @param trained Equal for equal numbers: `fingerprint` of them, unless they lie elsewhere.
 */
export function overlayTrained(
  model: ModelSource,
  tensors: ReadonlyMap<string, DenseTensor | DeferredTensor>,
  trained: string,
): ModelSource {
  return overlayModel(model, { shape: model.shape, tensors, id: `${model.id}+${trained}` });
}

/** FNV-1a over the tensors' 32-bit words: tells variants apart within a run. */
export function fingerprint(tensors: ReadonlyMap<string, DenseTensor>): string {
  return hashOf(
    [...tensors.values()].map(({ data }) => new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4)),
  );
}

/** The same over fingerprints. */
export function joinFingerprints(fingerprints: readonly string[]): string {
  return hashOf([Uint32Array.from(fingerprints, (each) => Number.parseInt(each, 16))]);
}

function hashOf(parts: readonly Uint32Array[]): string {
  let hash = 0x811c9dc5;
  for (const words of parts) {
    for (let index = 0; index < words.length; index++) hash = Math.imul(hash ^ words[index]!, 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, '0');
}
