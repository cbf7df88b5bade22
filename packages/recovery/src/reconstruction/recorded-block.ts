import { accumulate, allocateTensor, copyTensor, RepeatedStep } from '@kvlr/runtime';
import { type Scalar, type Tensor, type Tensor2D, tidy, type Variable, variableGrads } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import { OwnedVariables } from '../training/owned-variables.ts';
import type { WindowSet } from './block-passes.ts';
import type { HeldWindows } from './held-windows.ts';
import { meanOf, type TrainingSteps } from './training-steps.ts';

/** What passes through a block, windows one under another. */
export interface StackedPairs {
  inputs: Tensor2D;
  targets: Tensor2D;
  weights: Tensor2D;
}

type PairParts<Value> = Record<keyof StackedPairs, Value>;

/** A block's operations; each is called inside tf.tidy. */
export interface BlockOperations {
  variables: Variable[];
  windows: Record<WindowSet, PairParts<HeldWindows>>;
  /** Mean error of so many windows of a set, differentiable in the variables. */
  errorOf(set: WindowSet, pairs: StackedPairs, count: number): Scalar;
  /** What so many windows add to the moments: gram, lack and energy. */
  momentsOf(pairs: StackedPairs, count: number): [gram: Tensor2D, lack: Tensor2D, energy: Scalar];
}

/**
 * A block on WebGPU whose passes are recorded once and run again for other windows: the host copies windows to where the recording reads
 * them. Its variables stay in buffers of their own.
 */
export class RecordedBlock {
  private readonly owned: OwnedVariables;
  private heldOut: WindowsThrough | undefined;

  constructor(private readonly operations: BlockOperations) {
    this.owned = new OwnedVariables(operations.variables);
  }

  /** Errors of all held-out windows. Throws 'unsupported-feature' where the block cannot be recorded. */
  heldOutErrors(): Promise<number[]> {
    const { operations } = this;
    const windows = operations.windows.heldOut;
    const { count } = windows.inputs;
    this.heldOut ??= new WindowsThrough(windows, 1, count, [], (pairs) => operations.errorOf('heldOut', pairs, 1));
    this.owned.settle();
    for (let window = 0; window < count; window++) this.heldOut.run([window]);
    return this.heldOut.read();
  }

  /** Sums over the windows of a set, which pass in these groups; the caller disposes them. Throws 'unsupported-feature' as before. */
  moments(
    set: WindowSet,
    [first, ...groups]: readonly number[][],
    check: () => void,
  ): { gram: Tensor2D; lack: Tensor2D; energy: Scalar } {
    const { operations } = this;
    const windows = operations.windows[set];
    const through = new Map<number, WindowsThrough>();
    this.owned.settle();
    // The first group's are the start of the sums.
    const sums: Tensor[] = tidy(() =>
      operations.momentsOf(stacked(windows, first!), first!.length).map((moment) => copyTensor(moment)),
    );
    const passOf = (count: number): WindowsThrough => {
      const sumUp = (pairs: StackedPairs): Scalar => {
        const terms = operations.momentsOf(pairs, count);
        sums.forEach((sum, place) => {
          accumulate(sum, terms[place]!);
        });
        return terms[2];
      };
      const pass = through.get(count) ?? new WindowsThrough(windows, count, groups.length, sums, sumUp);
      through.set(count, pass);
      return pass;
    };
    try {
      for (const group of groups) {
        check();
        passOf(group.length).run(group);
      }
    } catch (error) {
      for (const sum of sums) sum.dispose();
      throw error;
    } finally {
      for (const pass of through.values()) pass.dispose();
    }
    const [gram, lack, energy] = sums as [Tensor2D, Tensor2D, Scalar];
    return { gram, lack, energy };
  }

  /** Steps of an optimiser, see `BlockPasses.record`. Throws 'unsupported-feature' as before. */
  steps(optimizer: AdamOptimizer, windowsPerStep: number, unread: number): TrainingSteps {
    return new RecordedSteps(this.operations, this.owned, optimizer, windowsPerStep, unread);
  }

  /** The variables stay, with their values. */
  dispose(): void {
    this.heldOut?.dispose();
    this.owned.dispose();
  }
}

/** Forward pass, gradients and Adam in one recording: the host writes three numbers for each variable. */
class RecordedSteps implements TrainingSteps {
  private readonly moments: OwnedVariables;
  private readonly numbers: Tensor2D;
  private readonly through: WindowsThrough;

  constructor(
    operations: BlockOperations,
    private readonly owned: OwnedVariables,
    private readonly optimizer: AdamOptimizer,
    windowsPerStep: number,
    unread: number,
  ) {
    const { variables, windows } = operations;
    const moments = optimizer.moments();
    this.moments = new OwnedVariables(moments.flatMap(({ mean, square }) => [mean, square]));
    this.numbers = allocateTensor([moments.length, 3], 'float32') as Tensor2D;
    const written = [...owned.tensors, ...this.moments.tensors];
    owned.settle();
    try {
      this.through = new WindowsThrough(windows.train, windowsPerStep, unread, written, (pairs) => {
        const { value, grads } = variableGrads(() => operations.errorOf('train', pairs, windowsPerStep), variables);
        optimizer.applyFused(grads, this.numbers, true);
        return value;
      });
    } catch (error) {
      this.disposeTensors();
      throw error;
    }
  }

  async take(batch: readonly number[], learningRate: number): Promise<void> {
    this.owned.settle();
    this.moments.settle();
    this.through.run(batch, { values: this.optimizer.advance(learningRate), target: this.numbers });
  }

  async meanError(): Promise<number> {
    return meanOf(await this.through.read());
  }

  dispose(): void {
    this.through.dispose();
    this.disposeTensors();
  }

  private disposeTensors(): void {
    this.moments.dispose();
    this.numbers.dispose();
  }
}

const parts = ['inputs', 'targets', 'weights'] as const;

/** A recording that some windows at once pass through; it gives one number each time. */
class WindowsThrough {
  private readonly pairs: StackedPairs;
  private readonly step: RepeatedStep;

  constructor(
    private readonly windows: PairParts<HeldWindows>,
    atOnce: number,
    results: number,
    written: readonly Tensor[],
    body: (pairs: StackedPairs) => Scalar,
  ) {
    this.pairs = pairsOf((part) => windows[part].allocate(atOnce));
    try {
      this.step = new RepeatedStep({ body: () => tidy(() => body(this.pairs)), written, results });
    } catch (error) {
      this.disposePairs();
      throw error;
    }
  }

  run(chosen: readonly number[], numbers?: { values: Float32Array; target: Tensor }): void {
    this.step.run((inputs) => {
      if (numbers) inputs.write(numbers.values, numbers.target);
      for (const part of parts) this.windows[part].copyTo(inputs, this.pairs[part], chosen);
    });
  }

  read(): Promise<number[]> {
    return this.step.read();
  }

  dispose(): void {
    this.step.dispose();
    this.disposePairs();
  }

  private disposePairs(): void {
    for (const tensor of Object.values(this.pairs)) tensor.dispose();
  }
}

/** Windows one under another. Call inside tf.tidy. */
function stacked(windows: PairParts<HeldWindows>, chosen: readonly number[]): StackedPairs {
  return pairsOf((part) => windows[part].stack(chosen));
}

export function pairsOf<Value>(of: (part: keyof StackedPairs) => Value): PairParts<Value> {
  return { inputs: of('inputs'), targets: of('targets'), weights: of('weights') };
}
