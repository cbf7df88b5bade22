import { copyTensor, copyValues } from '@kvlr/runtime';
import { keep, type Tensor, type Variable } from '@tensorflow/tfjs-core';

/**
 * Variables in buffers of their own, which a recorded step on WebGPU writes in place. Others may give a variable another tensor, as
 * `assign` does: `settle` copies its values to the buffer and gives the variable the buffer back.
 */
export class OwnedVariables {
  private readonly homes: { variable: Variable; home: Tensor }[] = [];

  constructor(variables: readonly Variable[]) {
    for (const variable of variables) this.homes.push({ variable, home: keep(copyTensor(variable)) });
    this.settle();
  }

  /** The tensors that the variables have whenever they are settled. */
  get tensors(): Tensor[] {
    return this.homes.map(({ home }) => home);
  }

  settle(): void {
    for (const { variable, home } of this.homes) {
      if (variable.dataId === home.dataId) continue;
      copyValues(variable, home);
      variable.assign(home);
    }
  }

  /** The variables stay, with their values. */
  dispose(): void {
    for (const { home } of this.homes) home.dispose();
  }
}
