import { type ModelSource, throwIfAborted } from '@kvlr/core';
import { type DecoderTensors, disposeTensors, type LayerTensors, uploadLayer } from '@kvlr/runtime';

/** The weights of a model's layers, of which those that are not trained stay as they are. */
export interface FrozenLayers {
  /** Hands over one layer's weights, on the device, for as long as the work lasts. */
  use<Value>(layer: number, work: (weights: LayerTensors) => Value | Promise<Value>): Promise<Value>;
}

/** Layers that lie on the device, float32. */
export function residentLayers({ layers }: Pick<DecoderTensors, 'layers'>): FrozenLayers {
  return { use: async (layer, work) => work(layers[layer]!) };
}

/**
 * Layers that stay packed as their source holds them, in F16 or in blocks of few bits, and are unpacked one at a time whenever they are
 * used: twice forwards and once backwards in a step.
 */
export function packedLayers(source: ModelSource, signal?: AbortSignal): FrozenLayers {
  return {
    async use(layer, work) {
      throwIfAborted(signal);
      const weights = await uploadLayer(source, layer);
      try {
        return await work(weights);
      } finally {
        disposeTensors(weights);
      }
    },
  };
}
