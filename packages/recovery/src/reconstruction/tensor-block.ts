import { type DecoderShape, KvlrError, throwIfAborted } from '@kvlr/core';
import { createMatrix, type Matrix } from '@kvlr/linalg';
import { attentionBlock, createSequenceContext, type SequenceContext, streamAfterAttention } from '@kvlr/runtime';
import {
  add,
  div,
  getBackend,
  matMul,
  mul,
  type Scalar,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  tidy,
  variableGrads,
} from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import { readScalars } from '../training/read-scalars.ts';
import type { WholeProjections } from '../training/whole-projections.ts';
import type { BlockPasses, StreamPairs, WindowSet } from './block-passes.ts';
import { HeldWindows } from './held-windows.ts';
import type { OutputMoments } from './output-moments.ts';
import { RecordedSteps, type StackedPairs } from './recorded-steps.ts';
import type { TrainingSteps } from './training-steps.ts';

/** A block in training, and the windows that it is trained on and judged by. */
export interface BlockTask {
  attention: WholeProjections;
  shape: DecoderShape;
  layer: number;
  train: StreamPairs;
  heldOut: StreamPairs;
  signal?: AbortSignal | undefined;
  /** On WebGPU: steps are recorded. Default true. */
  recordSteps?: boolean | undefined;
}

type HeldPairs = Record<'inputs' | 'targets' | 'weights', HeldWindows> & Pick<StreamPairs, 'unit'>;

/** A block on TensorFlow.js's backend. */
export class TensorBlock implements BlockPasses {
  private readonly windows: Record<WindowSet, HeldPairs>;
  /** By the number of windows that pass at once. */
  private readonly contexts = new Map<number, SequenceContext>();

  constructor(private readonly task: BlockTask) {
    const { train, heldOut, shape } = task;
    const hold = ({ inputs, targets, weights, unit }: StreamPairs): HeldPairs => ({
      inputs: new HeldWindows(inputs, shape.hiddenSize),
      targets: new HeldWindows(targets, shape.hiddenSize),
      weights: new HeldWindows(weights, 1),
      unit,
    });
    this.windows = { train: hold(train), heldOut: hold(heldOut) };
  }

  /** All windows are read together: a GPU is not waited for in between. */
  async heldOutError(): Promise<number> {
    const { count } = this.windows.heldOut.inputs;
    const errors: Scalar[] = [];
    try {
      for (let window = 0; window < count; window++) {
        throwIfAborted(this.task.signal);
        errors.push(tidy(() => this.error('heldOut', [window])));
      }
      const values = await readScalars(errors);
      return values.reduce((total, value) => total + value, 0) / values.length;
    } finally {
      for (const error of errors) error.dispose();
    }
  }

  async gradients(batch: readonly number[]) {
    const { value, grads } = variableGrads(() => this.error('train', batch), this.task.attention.variables());
    return { error: value, gradients: grads };
  }

  record(optimizer: AdamOptimizer, windowsPerStep: number, unread: number): TrainingSteps | undefined {
    const { attention, recordSteps = true } = this.task;
    if (!recordSteps || getBackend() !== 'webgpu') return undefined;
    // What the recording reads stays there.
    this.contextOf(windowsPerStep);
    const errorOf = (pairs: StackedPairs) => this.errorOf(pairs, windowsPerStep, this.windows.train.unit);
    const variables = attention.variables();
    try {
      return new RecordedSteps({
        ...{ windows: this.windows.train, windowsPerStep, variables, optimizer, errorOf, unread },
      });
    } catch (error) {
      if (KvlrError.isInstance(error) && error.code === 'unsupported-feature') return undefined;
      throw error;
    }
  }

  async moments(set: WindowSet): Promise<OutputMoments> {
    const { attention, shape, layer, signal } = this.task;
    const pairs = this.windows[set];
    const context = this.contextOf(1);
    let sums: Tensor[] | undefined;
    try {
      for (let window = 0; window < pairs.inputs.count; window++) {
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
    }
  }

  dispose(): void {
    for (const { inputs, targets, weights } of Object.values(this.windows)) {
      for (const held of [inputs, targets, weights]) held.dispose();
    }
    for (const context of this.contexts.values()) context.dispose();
  }

  /** Differentiable in the projections; call inside tf.tidy. */
  private error(set: WindowSet, batch: readonly number[]): Scalar {
    const { inputs, targets, weights, unit } = this.windows[set];
    const pairs = { inputs: inputs.stack(batch), targets: targets.stack(batch), weights: weights.stack(batch) };
    return this.errorOf(pairs, batch.length, unit);
  }

  private errorOf({ inputs, targets, weights }: StackedPairs, count: number, unit: number): Scalar {
    const { attention, shape, layer } = this.task;
    const context = this.contextOf(count);
    const { blockOutput } = attentionBlock(inputs, attention.weights, { shape, layer, context });
    const reached = streamAfterAttention(inputs, blockOutput, attention.weights, shape);
    return div(sum(mul(square(sub(reached, targets)), weights)), unit * count);
  }

  private contextOf(batch: number): SequenceContext {
    const { tokens } = this.windows.train.inputs;
    const context = this.contexts.get(batch) ?? createSequenceContext({ shape: this.task.shape, batch, tokens });
    this.contexts.set(batch, context);
    return context;
  }
}

async function download(matrix: Tensor): Promise<Matrix> {
  const [rows, columns] = matrix.shape as [number, number];
  return createMatrix(rows, columns, Float64Array.from(await matrix.data()));
}
