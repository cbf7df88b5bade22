import { type ModelSource, mapInOrder, type TapName } from '@kvlr/core';
import { disposeTensors, type LayerOnDevice, type LayerTensors, uploadLayer } from '@kvlr/runtime';
import { advanceThroughLayer, type WindowStreams } from './streams.ts';

/** One layer of a model where windows can pass through it, as many at once as `concurrency` says (default 1). */
export interface PassableLayer extends LayerOnDevice {
  concurrency?: number;
}

/** Port: loads one layer of a model of any shape. What asks for it disposes it. */
export type LoadLayer = (model: ModelSource, layer: number) => Promise<PassableLayer>;

/** Hears of a window's stream before a layer and behind its attention. */
type OnAttention = (place: number, before: Float32Array, between: Float32Array) => Promise<void>;

/** Takes windows through a layer of a model: the stream of each is put in the place of the one before the layer. */
export type LayerPasses = (
  model: ModelSource,
  layer: number,
  windows: WindowStreams,
  onAttention?: OnAttention,
) => Promise<void>;

/** On TensorFlow.js's backend. */
export function tensorPasses(signal: AbortSignal | undefined): LayerPasses {
  return (model, layer, windows, onAttention) =>
    withLayer(model, layer, (weights) => {
      const settings = { shape: model.shape, layer, signal, between: onAttention !== undefined };
      return advanceThroughLayer(windows, weights, settings, async ({ before, after, between }, place) => {
        if (between) await onAttention?.(place, before, between);
        await windows.store.write(place, after);
      });
    });
}

/**
 * Wherever `loadLayer` has layers, several windows at once. Only for decoders whose blocks add to the stream as it is, with no norm behind
 * the sum.
 */
export function loadedPasses(loadLayer: LoadLayer, signal: AbortSignal | undefined): LayerPasses {
  return async (model, index, { store, count }, onAttention) => {
    const taps: readonly TapName[] = onAttention ? ['blockOutput'] : [];
    const layer = await loadLayer(model, index);
    try {
      await mapInOrder({
        items: Array.from({ length: count }, (_, window) => window),
        concurrency: layer.concurrency ?? 1,
        signal,
        work: async (window) => {
          const before = await store.read(window);
          const { after, activations } = await layer.pass(before, taps);
          await onAttention?.(window, before, sumOf(before, activations.blockOutput!));
          await store.write(window, after);
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
