import { KvlrError, throwIfAborted } from '@kvlr/core';
import { createMatrix, innerProduct, type Matrix, multiply, solveRidge, trace } from '@kvlr/linalg';
import { attentionBlock, createSequenceContext } from '@kvlr/runtime';
import { add, matMul, mul, square, sub, sum, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { type BlockTask, type StreamPairs, stackWindows } from './streams.ts';

/** Strengths that are tried, as shares of the mean diagonal of the gram matrix. */
const RIDGES = [1e-4, 1e-3, 1e-2, 1e-1];

/** Second moments of the attended values o, times the residual factor, with themselves and with what the stream lacks after the block, r. */
interface OutputMoments {
  /** Sum of o o^T over tokens. */
  gram: Matrix;
  /** Sum of o r^T. */
  lack: Matrix;
  /** Sum of |r|^2. */
  energy: number;
}

/**
 * Moves the output projection to the least-squares optimum for the block's present attention, in closed form: the change
 * W minimises the sum of |r - W^T o|^2 + lambda |W|^2 over the training windows. Of a few strengths lambda, and of leaving
 * the projection as it is, the one with the least held-out error is taken. An output bias stays as it is.
 *
 * @returns False where nothing could be solved: the attended values are all zero, or too large or too small for float32.
 */
export async function refitOutput(task: BlockTask): Promise<boolean> {
  const train = await outputMoments(task, task.train);
  const heldOut = await outputMoments(task, task.heldOut);
  let best: { change?: Matrix; error: number } = { error: heldOut.energy };
  let isSolved = false;
  for (const ridge of RIDGES) {
    const change = solve(train, ridge);
    if (change === undefined) continue;
    isSolved = true;
    const error = heldOut.energy - 2 * innerProduct(change, heldOut.lack) + energyOf(change, heldOut.gram);
    if (error < best.error) best = { change, error };
  }
  if (best.change !== undefined) task.attention.moveOutput(best.change);
  return isSolved;
}

/** Undefined where the moments are not those of numbers that can be solved for. */
function solve({ gram, lack }: OutputMoments, ridge: number): Matrix | undefined {
  try {
    return solveRidge(gram, lack, ridge * (trace(gram) / gram.rows));
  } catch (error) {
    const codes: unknown[] = ['numerical', 'non-finite', 'invalid-argument'];
    if (KvlrError.isInstance(error) && codes.includes(error.code)) return undefined;
    throw error;
  }
}

async function outputMoments(task: BlockTask, pairs: StreamPairs): Promise<OutputMoments> {
  const { attention, shape, layer, signal } = task;
  const tokens = pairs.inputs[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  let sums: Tensor[] | undefined;
  try {
    for (const window of pairs.inputs.keys()) {
      throwIfAborted(signal);
      const earlier = sums;
      sums = tidy(() => {
        const stream = stackWindows(pairs.inputs, [window], shape.hiddenSize);
        const { attended, blockOutput } = attentionBlock(stream, attention.weights, { shape, layer, context });
        const added = mul(attended, shape.blocks.residualScale);
        const reached = add(stream, blockOutput);
        const lack = sub(stackWindows(pairs.targets, [window], shape.hiddenSize), reached);
        const moments = [matMul(added, added, true), matMul(added, lack, true), sum(square(lack))];
        return earlier === undefined ? moments : moments.map((moment, index) => add(moment, earlier[index]!));
      });
      for (const tensor of earlier ?? []) tensor.dispose();
    }
    const [gram, lack, energy] = sums!;
    return { gram: await download(gram!), lack: await download(lack!), energy: (await energy!.data())[0]! };
  } finally {
    for (const tensor of sums ?? []) tensor.dispose();
    context.dispose();
  }
}

async function download(matrix: Tensor): Promise<Matrix> {
  const [rows, columns] = matrix.shape as [number, number];
  return createMatrix(rows, columns, Float64Array.from(await matrix.data()));
}

/** Sum of |change^T o|^2 over the tokens behind the gram matrix. */
function energyOf(change: Matrix, gram: Matrix): number {
  return innerProduct(multiply(gram, change), change);
}
