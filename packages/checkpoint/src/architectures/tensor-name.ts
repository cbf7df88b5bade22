import type { TensorRole } from '@kvlr/core';
import type { ArchitectureDescriptor } from './architecture-descriptor.ts';
import { fillLayer, isLatentTensorRole, latentTensorNames } from './latent-tensor-names.ts';

/** Name of the tensor in a role; the language model head of tied embeddings is the embedding. */
export function tensorName(
  descriptor: ArchitectureDescriptor,
  tieWordEmbeddings: boolean,
  role: TensorRole,
  layer?: number,
): string {
  const template = templateOf(descriptor, role === 'languageModelHead' && tieWordEmbeddings ? 'embedding' : role);
  if (!template.includes('{layer}')) return template;
  return fillLayer(template, role, layer);
}

function templateOf(descriptor: ArchitectureDescriptor, role: TensorRole): string {
  if (isLatentTensorRole(role)) return latentTensorNames[role];
  return descriptor.tensors[role];
}
