import { type DenseTensor, KvlrError } from '@kvlr/core';
import { type Tensor, tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import type { TrainedAttention } from '../training/trained-attention.ts';

/** One look at the held-out windows. Losses are natural logarithms, means over predicted tokens. */
export interface DistillationPoint {
  step: number;
  /** Tokens trained on by then. */
  tokens: number;
  /** Mean loss of the training steps since the last point; none before the first step. */
  trainLoss?: number;
  /** What training lowers, on the held-out windows. */
  heldOutLoss: number;
  /** Its two parts: KL(original || student), and the cross-entropy of the text's next tokens. */
  heldOutDivergence: number;
  heldOutNextToken: number;
}

/** All that training needs to go on. */
export interface DistillationCheckpoint {
  /** Steps taken. */
  step: number;
  points: DistillationPoint[];
  /** By layer, variable and kind: `0/query/current`, `/best`, `/mean`, `/square`; matrices [in, out]. */
  tensors: Map<string, DenseTensor>;
}

/** The variables of all layers with what the optimiser remembers of them. */
export interface DistillationState {
  attentions: readonly TrainedAttention[];
  optimizer: AdamOptimizer;
}

/** Copies everything that training needs to go on to the host. */
export async function saveState(
  state: DistillationState,
  step: number,
  points: readonly DistillationPoint[],
): Promise<DistillationCheckpoint> {
  const tensors = new Map<string, DenseTensor>();
  for (const [name, entry] of entriesOf(state)) {
    tensors.set(name, { shape: [...entry.shape], data: Float32Array.from(await entry.data<'float32'>()) });
  }
  return { step, points: [...points], tensors };
}

/**
 * The inverse of `saveState`, into variables of the same model and settings.
 *
 * @throws KvlrError 'run-mismatch' when a tensor is missing or has another shape.
 */
export function restoreState(state: DistillationState, checkpoint: DistillationCheckpoint): void {
  const { attentions, optimizer } = state;
  const read = (name: string, like: Tensor): Tensor => {
    const saved = checkpoint.tensors.get(name);
    if (saved !== undefined && saved.shape.join() === like.shape.join())
      return tensor(saved.data, saved.shape, 'float32');
    throw new KvlrError('run-mismatch', {
      message: `expected ${name} of shape [${like.shape}] in the checkpoint, got ${saved ? `[${saved.shape}]` : 'none'}`,
      hint: 'Start the distillation again without the checkpoint.',
      where: { argument: 'checkpoint' },
      data: { name, expected: [...like.shape], received: saved?.shape },
    });
  };
  const put = (variable: Variable, name: string) => tidy(() => variable.assign(read(name, variable)));
  attentions.forEach((attention, layer) => {
    // First the best values, which `keep` takes from the variables; then the current ones.
    for (const [part, variable] of attention.trained) put(variable, `${layer}/${part}/best`);
    attention.keep();
    for (const [part, variable] of attention.trained) put(variable, `${layer}/${part}/current`);
  });
  for (const [name, , { mean, square }] of momentsOf(state)) {
    put(mean, `${name}/mean`);
    put(square, `${name}/square`);
  }
  optimizer.resumeAfter(checkpoint.step);
}

function* entriesOf(state: DistillationState): Generator<[name: string, entry: Tensor]> {
  for (const [layer, attention] of state.attentions.entries()) {
    for (const [part, variable] of attention.trained) yield [`${layer}/${part}/current`, variable];
    for (const [part, copy] of attention.kept) yield [`${layer}/${part}/best`, copy];
  }
  for (const [name, , { mean, square }] of momentsOf(state)) {
    yield [`${name}/mean`, mean];
    yield [`${name}/square`, square];
  }
}

function* momentsOf({ attentions, optimizer }: DistillationState) {
  const byVariable = new Map(optimizer.moments().map((moments) => [moments.parameter.variable, moments]));
  for (const [layer, attention] of attentions.entries()) {
    for (const [part, variable] of attention.trained) {
      yield [`${layer}/${part}`, variable, byVariable.get(variable)!] as const;
    }
  }
}
