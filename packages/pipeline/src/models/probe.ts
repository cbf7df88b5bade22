import { LayerMoments, momentTaps } from '@kvlr/calibration';
import {
  countElements,
  createNormalRandom,
  isCompressedRole,
  KvlrError,
  layerTensors,
  type ModelSource,
  readTensor,
  type TensorRole,
} from '@kvlr/core';
import { type NativeTraining, trainsNatively } from '@kvlr/recovery';
import { type BackendName, DecoderInParts } from '@kvlr/runtime';
import type { NativeEngine } from './engine.ts';

/** Speeds of this machine, now: operations a second. */
export interface ProbedSpeeds {
  /** Of windows in a layer, forward: on the backend, and in native code where there is any. */
  backend: number;
  native?: number | undefined;
  /** Of a window through the attention block of a layer, forward and back, in native code that can train it. */
  nativeBlocks?: number | undefined;
  /** Products of second moments. */
  moments: number;
}

/** Tokens of the window that is timed. */
const tokens = 128;
/** Of the window that passes a block in training: half of what such windows usually have, since most of the work grows with them. */
const blockTokens = 256;

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
  const nativeBlocks = native?.training && (await probeBlock(source, native.training));
  return { backend: here.speed, native: there?.speed, nativeBlocks, moments: products / seconds };
}

/** Times one window forward and back through the first layer's attention; undefined where that is not trained in native code. */
async function probeBlock(source: ModelSource, training: NativeTraining): Promise<number | undefined> {
  const { shape } = source;
  if (!trainsNatively(shape)) return undefined;
  const entries = layerTensors(shape, 0).filter(({ role }) => isCompressedRole(role));
  const values = new Map<TensorRole, Float32Array>();
  // Speed does not depend on which of its axes a matrix has first.
  for (const entry of entries) values.set(entry.role, await readTensor(source, entry));
  const normal = createNormalRandom(2);
  const stream = Float32Array.from({ length: blockTokens * shape.hiddenSize }, () => normal());
  const window = { stream, target: stream, weights: new Float32Array(blockTokens).fill(1) };
  const block = await loadBlock(source, training, [...values.keys()]);
  if (block === undefined) return undefined;
  try {
    await block.gradients(window, values);
    const seconds = await secondsOf(() => block.gradients(window, values));
    const matrices = entries.reduce((sum, tensor) => sum + countElements(tensor.shape), 0);
    const scores = 4 * shape.numAttentionHeads * shape.headDim * blockTokens;
    return (3 * blockTokens * (2 * matrices + scores)) / seconds;
  } finally {
    block.dispose();
  }
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

async function loadBlock(source: ModelSource, training: NativeTraining, roles: readonly TensorRole[]) {
  try {
    return await training.loadBlock(source, 0, roles);
  } catch (error) {
    if (KvlrError.isInstance(error) && error.code === 'unsupported-feature') return undefined;
    throw error;
  }
}
