import { type BlockWindow, type DecoderShape, KvlrError, throwIfAborted } from '@kvlr/core';
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
  type Tensor2D,
  tidy,
  variableGrads,
} from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import { readScalars } from '../training/read-scalars.ts';
import type { WholeProjections } from '../training/whole-projections.ts';
import type { BlockPasses, StreamPairs, WindowSet } from './block-passes.ts';
import { HeldWindows } from './held-windows.ts';
import type { OutputMoments } from './output-moments.ts';
import { type BlockOperations, pairsOf, RecordedBlock, type StackedPairs } from './recorded-block.ts';
import { groupsOf, windowsAtOnce } from './streams.ts';
import { meanOf, type TrainingSteps } from './training-steps.ts';

/** A block in training, and the windows that it is trained on and judged by. */
export interface BlockTask {
  attention: WholeProjections;
  shape: DecoderShape;
  layer: number;
  train: StreamPairs;
  heldOut: StreamPairs;
  signal?: AbortSignal | undefined;
  /** On WebGPU: passes are recorded. Default true. */
  recordSteps?: boolean | undefined;
}

/** A block on TensorFlow.js's backend. */
export class TensorBlock implements BlockPasses, BlockOperations {
  readonly windows: BlockOperations['windows'];
  /** By the number of windows that pass at once. */
  private readonly contexts = new Map<number, SequenceContext>();
  /** On WebGPU, unless it turned out that the block cannot be recorded. */
  private recorded: RecordedBlock | undefined;

  private constructor(
    private readonly task: BlockTask,
    windows: BlockOperations['windows'],
  ) {
    const { recordSteps = true } = task;
    this.windows = windows;
    if (recordSteps && getBackend() === 'webgpu') this.recorded = new RecordedBlock(this);
  }

  /** Reads all windows: operations take them where they are in memory. */
  static async open(task: BlockTask): Promise<TensorBlock> {
    const { train, heldOut, shape } = task;
    const hold = async (pairs: StreamPairs) => {
      const windows: BlockWindow[] = [];
      for (let place = 0; place < pairs.count; place++) windows.push(await pairs.window(place));
      const held = (part: keyof BlockWindow, width: number) =>
        new HeldWindows(
          windows.map((window) => window[part]),
          width,
        );
      const { hiddenSize } = shape;
      return { inputs: held('stream', hiddenSize), targets: held('target', hiddenSize), weights: held('weights', 1) };
    };
    return new TensorBlock(task, { train: await hold(train), heldOut: await hold(heldOut) });
  }

  get variables() {
    return this.task.attention.variables();
  }

  /** All windows are read together: a GPU is not waited for in between. */
  async heldOutError(): Promise<number> {
    throwIfAborted(this.task.signal);
    return meanOf((await this.ifRecorded((block) => block.heldOutErrors(), [1])) ?? (await this.heldOutErrors()));
  }

  async gradients(batch: readonly number[]) {
    const error = () => this.errorOf('train', this.stack('train', batch), batch.length);
    const { value, grads } = variableGrads(error, this.variables);
    return { error: value, gradients: grads };
  }

  record(optimizer: AdamOptimizer, windowsPerStep: number, unread: number): TrainingSteps | undefined {
    return this.ifRecorded((block) => block.steps(optimizer, windowsPerStep, unread), [windowsPerStep]);
  }

  async moments(set: WindowSet): Promise<OutputMoments> {
    const check = () => throwIfAborted(this.task.signal);
    const { count, tokens } = this.windows[set].inputs;
    const groups = groupsOf(count, windowsAtOnce(tokens));
    const sizes = groups.map(({ length }) => length);
    const sums =
      this.ifRecorded((block) => block.moments(set, groups, check), sizes) ?? this.sumMoments(set, groups, check);
    try {
      const [gram, lack, [energy]] = await Promise.all([
        download(sums.gram),
        download(sums.lack),
        sums.energy.data<'float32'>(),
      ]);
      return { gram, lack, energy: energy! };
    } finally {
      for (const tensor of Object.values(sums)) tensor.dispose();
    }
  }

  dispose(): void {
    this.recorded?.dispose();
    for (const { inputs, targets, weights } of Object.values(this.windows)) {
      for (const held of [inputs, targets, weights]) held.dispose();
    }
    for (const context of this.contexts.values()) context.dispose();
  }

  errorOf(set: WindowSet, { inputs, targets, weights }: StackedPairs, count: number): Scalar {
    const { attention, shape, layer } = this.task;
    const context = this.contextOf(count);
    const { blockOutput } = attentionBlock(inputs, attention.weights, { shape, layer, context });
    const reached = streamAfterAttention(inputs, blockOutput, attention.weights, shape);
    const squares = square(sub(reached, targets));
    return div(sum(mul(squares, weights)), this.task[set].unit * count);
  }

  momentsOf(
    { inputs, targets, weights }: StackedPairs,
    count: number,
  ): [gram: Tensor2D, lack: Tensor2D, energy: Scalar] {
    const { attention, shape, layer } = this.task;
    const context = this.contextOf(count);
    const { attended, blockOutput } = attentionBlock(inputs, attention.weights, { shape, layer, context });
    const roots = sqrt(weights);
    const added: Tensor2D = mul(attended, mul(roots, shape.blocks.residualScale));
    const reached = add(inputs, blockOutput);
    const lack: Tensor2D = mul(sub(targets, reached), roots);
    return [matMul(added, added, true), matMul(added, lack, true), sum(square(lack))];
  }

  /** What work on the recorded block gives; undefined where there is none. Contexts of these numbers of windows are there before. */
  private ifRecorded<Value>(work: (block: RecordedBlock) => Value, counts: readonly number[]): Value | undefined {
    if (this.recorded === undefined) return undefined;
    for (const count of counts) this.contextOf(count);
    try {
      return work(this.recorded);
    } catch (error) {
      if (!KvlrError.isInstance(error) || error.code !== 'unsupported-feature') throw error;
      this.recorded.dispose();
      this.recorded = undefined;
      return undefined;
    }
  }

  private async heldOutErrors(): Promise<number[]> {
    const errors: Scalar[] = [];
    try {
      for (let window = 0; window < this.windows.heldOut.inputs.count; window++) {
        throwIfAborted(this.task.signal);
        errors.push(tidy(() => this.errorOf('heldOut', this.stack('heldOut', [window]), 1)));
      }
      return await readScalars(errors);
    } finally {
      for (const error of errors) error.dispose();
    }
  }

  private sumMoments(
    set: WindowSet,
    groups: readonly number[][],
    check: () => void,
  ): { gram: Tensor2D; lack: Tensor2D; energy: Scalar } {
    let sums: Tensor[] | undefined;
    try {
      for (const group of groups) {
        check();
        const earlier = sums;
        sums = tidy(() => {
          const moments: Tensor[] = this.momentsOf(this.stack(set, group), group.length);
          return earlier === undefined ? moments : moments.map((moment, index) => add(moment, earlier[index]!));
        });
        for (const tensor of earlier ?? []) tensor.dispose();
      }
    } catch (error) {
      for (const tensor of sums ?? []) tensor.dispose();
      throw error;
    }
    const [gram, lack, energy] = sums as [Tensor2D, Tensor2D, Scalar];
    return { gram, lack, energy };
  }

  /** Windows one under another. Call inside tf.tidy. */
  private stack(set: WindowSet, batch: readonly number[]): StackedPairs {
    return pairsOf((part) => this.windows[set][part].stack(batch));
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
