import { type TrainedBlock, throwIfAborted } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { type NamedTensorMap, scalar, tensor } from '@tensorflow/tfjs-core';
import { valuesOf } from '../native/native-passes.ts';
import { yieldToHost } from '../training/schedule.ts';
import type { BlockPasses, WindowSet } from './block-passes.ts';
import type { OutputMoments } from './output-moments.ts';
import type { BlockTask } from './tensor-block.ts';

/** A block in native code, one window after another; variables and their steps stay on the backend. */
export class NativeBlockPasses implements BlockPasses {
  constructor(
    private readonly block: TrainedBlock,
    private readonly task: BlockTask,
  ) {}

  async heldOutError(): Promise<number> {
    const { attention, heldOut } = this.task;
    const values = await valuesOf(attention);
    let error = 0;
    for (let place = 0; place < heldOut.count; place++) {
      error += await this.turn(async () => this.block.error(await heldOut.window(place), values));
    }
    return error / (heldOut.unit * heldOut.count);
  }

  async gradients(batch: readonly number[]) {
    const { attention, train } = this.task;
    const values = await valuesOf(attention);
    const share = 1 / (train.unit * batch.length);
    const sums = new Map([...values].map(([role, { length }]) => [role, new Float32Array(length)]));
    let error = 0;
    for (const place of batch) {
      // Weighted so, gradients are those of the mean error.
      const { weights, ...window } = await train.window(place);
      const weighted = { ...window, weights: weights.map((weight) => weight * share) };
      const found = await this.turn(() => this.block.gradients(weighted, values));
      error += found.error;
      for (const [role, gradient] of found.matrices) addTo(sums.get(role)!, gradient);
    }
    const gradients: NamedTensorMap = {};
    for (const [role, { name, shape }] of attention.roles) gradients[name] = tensor(sums.get(role)!, shape);
    return { error: scalar(error), gradients };
  }

  async moments(set: WindowSet): Promise<OutputMoments> {
    const { attention, shape } = this.task;
    const values = await valuesOf(attention);
    const width = attention.roles.get('outputWeight')!.shape[0]!;
    const sums = {
      gram: createMatrix(width, width),
      lack: createMatrix(width, shape.hiddenSize),
      energy: 0,
    };
    const windows = this.task[set];
    for (let place = 0; place < windows.count; place++) {
      const found = await this.turn(async () => this.block.moments(await windows.window(place), values));
      const { gram, lack, energy } = found;
      addTo(sums.gram.data, gram);
      addTo(sums.lack.data, lack);
      sums.energy += energy;
    }
    return sums;
  }

  dispose(): void {
    this.block.dispose();
  }

  /** One window's work, unless all is to stop; the host gets its turns. */
  private async turn<Value>(work: () => Promise<Value>): Promise<Value> {
    throwIfAborted(this.task.signal);
    await yieldToHost();
    return work();
  }
}

function addTo(sums: Float32Array | Float64Array, added: Float32Array): void {
  for (let place = 0; place < sums.length; place++) sums[place]! += added[place]!;
}
