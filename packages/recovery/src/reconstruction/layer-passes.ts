import { type ModelSource, mapInOrder, type TapName } from '@kvlr/core';
import { disposeTensors, type LayerOnDevice, type LayerTensors, uploadLayer } from '@kvlr/runtime';
import { advanceThroughLayer, type StreamsAround } from './streams.ts';

/** One layer of a model where windows can pass through it, as many at once as `concurrency` says (default 1). */
export interface PassableLayer extends LayerOnDevice {
  concurrency?: number;
}

/** Port: loads one layer of a model of any shape. What asks for it disposes it. */
export type LoadLayer = (model: ModelSource, layer: number) => Promise<PassableLayer>;

/** Takes the residual streams of windows, [tokens, hiddenSize] each, through a layer of a model. */
export interface LayerPasses {
  /** The streams behind the layer's attention, and those behind the layer. */
  around(model: ModelSource, layer: number, streams: readonly Float32Array[]): Promise<StreamsAround>;
  /** The streams behind the layer. */
  through(model: ModelSource, layer: number, streams: readonly Float32Array[]): Promise<Float32Array[]>;
}

/** On TensorFlow.js's backend. */
export function tensorPasses(signal: AbortSignal | undefined): LayerPasses {
  const pass = (model: ModelSource, layer: number, streams: readonly Float32Array[], wanted: 'both' | 'after') =>
    withLayer(model, layer, (weights) =>
      advanceThroughLayer(streams, weights, { shape: model.shape, layer, signal }, wanted),
    );
  return {
    around: (model, layer, streams) => pass(model, layer, streams, 'both'),
    through: async (model, layer, streams) => (await pass(model, layer, streams, 'after')).after,
  };
}

/**
 * Wherever `loadLayer` has layers, several windows at once. Only for decoders whose blocks add to the stream as it is, with no norm behind
 * the sum.
 */
export function loadedPasses(loadLayer: LoadLayer, signal: AbortSignal | undefined): LayerPasses {
  const pass = async (
    model: ModelSource,
    index: number,
    streams: readonly Float32Array[],
    taps: readonly TapName[],
    onWindow: (passed: Awaited<ReturnType<PassableLayer['pass']>>, window: number) => void,
  ) => {
    const layer = await loadLayer(model, index);
    try {
      await mapInOrder({
        items: Array.from(streams.keys()),
        concurrency: layer.concurrency ?? 1,
        signal,
        work: async (window) => [await layer.pass(streams[window]!, taps)],
        onResult: (results, window) => {
          // Results are held to the end: what was seen of the layer is not to be.
          onWindow(results.pop()!, window);
        },
      });
    } finally {
      layer.dispose();
    }
  };
  return {
    async around(model, layer, streams) {
      const found: StreamsAround = { between: [], after: [] };
      await pass(model, layer, streams, ['blockOutput'], ({ after, activations }, window) => {
        found.between.push(sumOf(streams[window]!, activations.blockOutput!));
        found.after.push(after);
      });
      return found;
    },
    async through(model, layer, streams) {
      const after: Float32Array[] = [];
      await pass(model, layer, streams, [], (passed) => after.push(passed.after));
      return after;
    },
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
