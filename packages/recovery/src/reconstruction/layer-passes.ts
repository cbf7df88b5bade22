import { type ModelSource, mapInOrder, type TapName } from '@kvlr/core';
import { disposeTensors, type LayerOnDevice, type LayerTensors, uploadLayer } from '@kvlr/runtime';
import { advanceThroughLayer } from './streams.ts';

/** One layer of a model where windows can pass through it, as many at once as `concurrency` says (default 1). */
export interface PassableLayer extends LayerOnDevice {
  concurrency?: number;
}

/** Port: loads one layer of a model of any shape. What asks for it disposes it. */
export type LoadLayer = (model: ModelSource, layer: number) => Promise<PassableLayer>;

/** Hears of the stream behind a layer's attention, while the one before the layer is still in its place. */
type OnAttention = (between: Float32Array, place: number) => void;

/**
 * Takes the residual streams of windows, [tokens, hiddenSize] each, through a layer of a model: each is put in the place of the one before
 * the layer, so that one set of streams is in memory.
 */
export type LayerPasses = (
  model: ModelSource,
  layer: number,
  streams: Float32Array[],
  onAttention?: OnAttention,
) => Promise<void>;

/** On TensorFlow.js's backend. */
export function tensorPasses(signal: AbortSignal | undefined): LayerPasses {
  return (model, layer, streams, onAttention) =>
    withLayer(model, layer, (weights) => {
      const settings = { shape: model.shape, layer, signal, between: onAttention !== undefined };
      return advanceThroughLayer(streams, weights, settings, ({ after, between }, place) => {
        if (between) onAttention?.(between, place);
        streams[place] = after;
      });
    });
}

/**
 * Wherever `loadLayer` has layers, several windows at once. Only for decoders whose blocks add to the stream as it is, with no norm behind
 * the sum.
 */
export function loadedPasses(loadLayer: LoadLayer, signal: AbortSignal | undefined): LayerPasses {
  return async (model, index, streams, onAttention) => {
    const taps: readonly TapName[] = onAttention ? ['blockOutput'] : [];
    const layer = await loadLayer(model, index);
    try {
      await mapInOrder({
        items: Array.from(streams.keys()),
        concurrency: layer.concurrency ?? 1,
        signal,
        work: async (window) => [await layer.pass(streams[window]!, taps)],
        onResult: (results, window) => {
          // Results are held to the end: what was seen of the layer is not to be.
          const { after, activations } = results.pop()!;
          onAttention?.(sumOf(streams[window]!, activations.blockOutput!), window);
          streams[window] = after;
        },
      });
    } finally {
      layer.dispose();
    }
  };
}

/** Uploads a layer for as long as it is used. */
async function withLayer<Value>(
  source: ModelSource,
  layer: number,
  use: (weights: LayerTensors) => Promise<Value>,
): Promise<Value> {
  const weights = await uploadLayer(source, layer);
  try {
    return await use(weights);
  } finally {
    disposeTensors(weights);
  }
}

function sumOf(left: Float32Array, right: Float32Array): Float32Array {
  const sum = left.slice();
  for (let index = 0; index < sum.length; index++) sum[index]! += right[index]!;
  return sum;
}
