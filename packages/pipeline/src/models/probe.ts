import { LayerMoments, momentTaps } from '@kvlr/calibration';
import { countElements, createNormalRandom, layerTensors, type ModelSource } from '@kvlr/core';
import { type BackendName, DecoderInParts } from '@kvlr/runtime';
import type { NativeEngine } from './engine.ts';

/** Speeds of this machine, now: operations a second. */
export interface ProbedSpeeds {
  /** Of windows in a layer, forward: on the backend, and in native code where there is any. */
  backend: number;
  native?: number | undefined;
  /** Products of second moments. */
  moments: number;
}

/** Tokens of the window that is timed. */
const tokens = 128;

/**
 * Times one window in the first layer of a model: what reading, running and gathering cost here, on as many cores as one window takes.
 * It takes about as long as loading the layer. The window is random: speed does not depend on it.
 */
export async function probeSpeeds(
  source: ModelSource,
  backend: BackendName,
  native: NativeEngine | undefined,
): Promise<ProbedSpeeds> {
  const { shape } = source;
  const normal = createNormalRandom(1);
  const stream = Float32Array.from({ length: tokens * shape.hiddenSize }, () => normal());
  const matrices = layerTensors(shape, 0).reduce((sum, tensor) => sum + countElements(tensor.shape), 0);
  const attention = 4 * shape.numAttentionHeads * shape.headDim * tokens;
  const operations = tokens * (2 * matrices + attention);
  const speedOf = async (parts: Pick<DecoderInParts, 'loadLayer'>) => {
    const layer = await parts.loadLayer(0);
    try {
      // The first pass packs weights and compiles.
      await layer.pass(stream, []);
      const seconds = await secondsOf(() => layer.pass(stream, []));
      const { activations } = await layer.pass(stream, momentTaps);
      return { speed: operations / seconds, activations };
    } finally {
      layer.dispose();
    }
  };
  const here = await speedOf(await DecoderInParts.open(source, { backend }));
  const there = native && (await speedOf(await native.open(source)));
  const gathered = new LayerMoments(shape, 0);
  const gather = async () => gathered.add(here.activations);
  // The first sums compile as well.
  await gather();
  const seconds = await secondsOf(gather);
  const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = shape;
  const [queries, keys] = [numAttentionHeads * headDim, numKeyValueHeads * headDim];
  const products = tokens * (hiddenSize ** 2 + 3 * keys ** 2 + 2 * queries * headDim + queries ** 2);
  return { backend: here.speed, native: there?.speed, moments: products / seconds };
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}
