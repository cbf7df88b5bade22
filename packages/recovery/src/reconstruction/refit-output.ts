import { throwIfAborted } from '@kvlr/core';
import { createMatrix, type Matrix } from '@kvlr/linalg';
import { attentionBlock, createSequenceContext } from '@kvlr/runtime';
import { add, matMul, mul, sqrt, square, sub, sum, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { type OutputMoments, solveChange } from './output-moments.ts';
import type { BlockTask, StreamPairs } from './streams.ts';

/**
 * Moves the output projection to the least-squares optimum for the block's present attention, in closed form (see `solveChange`). An
 * output bias stays as it is.
 *
 * @returns False where nothing could be solved: the attended values are all zero, or too large or too small for float32.
 */
export async function refitOutput(task: BlockTask): Promise<boolean> {
  const train = await outputMoments(task, task.train);
  const heldOut = await outputMoments(task, task.heldOut);
  const solved = solveChange(train, heldOut);
  if (solved?.change !== undefined) task.attention.moveOutput(solved.change);
  return solved !== undefined;
}

async function outputMoments(task: BlockTask, pairs: StreamPairs): Promise<OutputMoments> {
  const { attention, shape, layer, signal } = task;
  const { tokens, count } = pairs.inputs;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  let sums: Tensor[] | undefined;
  try {
    for (let window = 0; window < count; window++) {
      throwIfAborted(signal);
      const earlier = sums;
      sums = tidy(() => {
        const stream = pairs.inputs.stack([window]);
        const { attended, blockOutput } = attentionBlock(stream, attention.weights, { shape, layer, context });
        const roots = sqrt(pairs.weights.stack([window]));
        const added = mul(attended, mul(roots, shape.blocks.residualScale));
        const reached = add(stream, blockOutput);
        const lack = mul(sub(pairs.targets.stack([window]), reached), roots);
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
