import { KvlrError } from '@kvlr/core';

/** Names of the two tensors that only kvlr's latent layout has; the same for every family. */
export const latentTensorNames = {
  latentKeyEncoder: 'model.layers.{layer}.self_attn.k_latent.weight',
  latentQueryEncoder: 'model.layers.{layer}.self_attn.q_latent.weight',
} as const;

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
