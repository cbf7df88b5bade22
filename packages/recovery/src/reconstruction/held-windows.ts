import { allocateTensor, type StepInputs } from '@kvlr/runtime';
import { concat, getBackend, keep, type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';

/** Bytes of one stream's windows that stay on a GPU. */
const MOST_HELD_BYTES = 2 ** 29;

/**
 * Windows of a stream, [tokens, hiddenSize] each, that are given to a device again and again. On a GPU they stay there from their first
 * use on, where they fit; elsewhere a tensor is a copy in the same memory.
 */
export class HeldWindows {
  private readonly windows: readonly Float32Array[];
  private readonly hiddenSize: number;
  private readonly held: (Tensor2D | undefined)[] = [];

  constructor(windows: readonly Float32Array[], hiddenSize: number) {
    this.windows = windows;
    this.hiddenSize = hiddenSize;
  }

  get count(): number {
    return this.windows.length;
  }

  /** Of each window. */
  get tokens(): number {
    return this.windows[0]!.length / this.hiddenSize;
  }

  /** The chosen windows one under another, [chosen * tokens, hiddenSize]. Call inside tf.tidy. */
  stack(chosen: readonly number[]): Tensor2D {
    const { tokens, hiddenSize } = this;
    const [first] = chosen;
    if (getBackend() === 'webgpu' && this.fit) {
      const tensors = chosen.map((index) => this.onDevice(index));
      return tensors.length === 1 ? tensors[0]!.clone() : concat(tensors);
    }
    if (chosen.length === 1) return tensor2d(this.windows[first!]!, [tokens, hiddenSize]);
    const length = tokens * hiddenSize;
    const values = new Float32Array(chosen.length * length);
    chosen.forEach((index, place) => {
      values.set(this.windows[index]!, place * length);
    });
    return tensor2d(values, [chosen.length * tokens, hiddenSize]);
  }

  /** A tensor for so many windows, one under another, without values. */
  allocate(count: number): Tensor2D {
    return allocateTensor([count * this.tokens, this.hiddenSize], 'float32') as Tensor2D;
  }

  /** Fills such a tensor, for a recorded step on WebGPU. */
  copyTo(inputs: StepInputs, target: Tensor2D, chosen: readonly number[]): void {
    chosen.forEach((index, place) => {
      const offset = place * this.windows[index]!.length;
      if (this.fit) inputs.copy(this.onDevice(index), target, offset);
      else inputs.write(this.windows[index]!, target, offset);
    });
  }

  private get fit(): boolean {
    return 4 * this.count * this.windows[0]!.length <= MOST_HELD_BYTES;
  }

  dispose(): void {
    for (const tensor of this.held.splice(0)) tensor?.dispose();
  }

  private onDevice(index: number): Tensor2D {
    this.held[index] ??= keep(tensor2d(this.windows[index]!, [this.tokens, this.hiddenSize]));
    return this.held[index];
  }
}
