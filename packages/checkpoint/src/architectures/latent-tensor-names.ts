import { KvlrError } from '@kvlr/core';

/** Names of the tensors that only kvlr's own layouts of keys have; the same for every family. */
export const latentTensorNames = {
  latentKeyEncoder: 'model.layers.{layer}.self_attn.k_latent.weight',
  latentQueryEncoder: 'model.layers.{layer}.self_attn.q_latent.weight',
  rebuiltKeyDecoder: 'model.layers.{layer}.self_attn.k_rebuild.weight',
} as const;

export type LatentTensorRole = keyof typeof latentTensorNames;

export function isLatentTensorRole(role: string): role is LatentTensorRole {
  return Object.hasOwn(latentTensorNames, role);
}

/** Puts the layer's number into a name template. Throws 'invalid-argument' without one. */
export function fillLayer(template: string, role: string, layer: number | undefined): string {
  if (layer === undefined) {
    throw new KvlrError('invalid-argument', {
      message: `tensorName: expected a layer for the role ${role}, got none`,
      data: { role },
    });
  }
  return template.replace('{layer}', String(layer));
}
