import { LayerMoments, momentTaps } from '@kvlr/calibration';
import {
  countElements,
  createNormalRandom,
  type DecoderShape,
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
  /** Of a window in a layer, forward, on the backend: on one thread where it computes on the CPU. */
  backend: number;
  /** The same in native code on all cores, where there is any. */
  native?: number | undefined;
  /** Of a window through the attention block of a layer, forward and back, in native code that can train it, on all cores. */
  nativeBlocks?: number | undefined;
  /** Products of second moments, on one thread. */
  moments: number;
}

/** Tokens of the window that is timed, at most: those that windows usually have, since attention takes more a token the longer they are. */
const mostTokens = 512;
/** Floating point operations of that window in a layer's matrices, at most: a moment each. */
const mostOperations = { backend: 4e9, native: 4e10 };

/**
 * Times one window in the first layer of a model: what reading, running and gathering cost here, on as many cores as one window takes.
 * It takes about as long as loading the layer, and a second or two. The window is random: speed does not depend on it.
 */
export async function probeSpeeds(
  source: ModelSource,
  backend: BackendName,
  native: NativeEngine | undefined,
): Promise<ProbedSpeeds> {
  const { shape } = source;
  const matrices = layerTensors(shape, 0).reduce((sum, tensor) => sum + countElements(tensor.shape), 0);
  const speedOf = async (parts: Pick<DecoderInParts, 'loadLayer'>, most: number) => {
    const tokens = probeTokens(shape, matrices, most);
    const stream = randomStream(shape, tokens);
    const operations = tokens * (2 * matrices + 4 * shape.numAttentionHeads * shape.headDim * tokens);
    const layer = await parts.loadLayer(0);
    try {
      // The first pass packs weights and compiles.
      await layer.pass(stream, []);
      const seconds = await secondsOf(() => layer.pass(stream, []));
      const { activations } = await layer.pass(stream, momentTaps);
      return { tokens, speed: operations / seconds, activations };
    } finally {
      layer.dispose();
    }
  };
  const here = await speedOf(await DecoderInParts.open(source, { backend }), mostOperations.backend);
  const there = native && (await speedOf(await native.open(source), mostOperations.native));
  const { tokens, activations } = there ?? here;
  const gathered = new LayerMoments(shape, 0);
  const gather = async () => gathered.add(activations);
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
  const matrices = entries.reduce((sum, tensor) => sum + countElements(tensor.shape), 0);
  const tokens = probeTokens(shape, matrices, mostOperations.native);
  const stream = randomStream(shape, tokens);
  const window = { stream, target: stream, weights: new Float32Array(tokens).fill(1) };
  const block = await loadBlock(source, training, [...values.keys()]);
  if (block === undefined) return undefined;
  try {
    await block.gradients(window, values);
    const seconds = await secondsOf(() => block.gradients(window, values));
    const scores = 4 * shape.numAttentionHeads * shape.headDim * tokens;
    return (3 * tokens * (2 * matrices + scores)) / seconds;
  } finally {
    block.dispose();
  }
}

/** Tokens of a window that so many numbers of matrices are multiplied with, for so many operations. */
function probeTokens({ maxPositionEmbeddings }: DecoderShape, matrices: number, operations: number): number {
  return Math.min(mostTokens, maxPositionEmbeddings, Math.max(64, Math.floor(operations / (2 * matrices))));
}

function randomStream({ hiddenSize }: DecoderShape, tokens: number): Float32Array {
  const normal = createNormalRandom(1);
  return Float32Array.from({ length: tokens * hiddenSize }, () => normal());
}

/** Work is timed for about so long, unless it is done once in more: engines compile and learn where to put arrays in the first runs. */
const timedSeconds = 0.5;
const mostRuns = 9;

/** The median of some runs. */
async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let total = 0; times.length === 0 || (total < timedSeconds && times.length < mostRuns); total += times.at(-1)!) {
    const started = performance.now();
    await work();
    times.push((performance.now() - started) / 1000);
  }
  times.sort((a, b) => a - b);
  const [below, above] = [Math.floor((times.length - 1) / 2), Math.floor(times.length / 2)];
  return (times[below]! + times[above]!) / 2;
}

async function loadBlock(source: ModelSource, training: NativeTraining, roles: readonly TensorRole[]) {
  try {
    return await training.loadBlock(source, 0, roles);
  } catch (error) {
    if (KvlrError.isInstance(error) && error.code === 'unsupported-feature') return undefined;
    throw error;
  }
}
