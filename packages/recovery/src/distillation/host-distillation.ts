import { type TensorRole, throwIfAborted } from '@kvlr/core';
import { tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import { areWhole } from '../native/native-passes.ts';
import type { NativeTrainingModel } from '../native/native-training.ts';
import type { AdamMoments } from '../training/adam-optimizer.ts';
import type { HostParameter } from '../training/host-adam.ts';
import { yieldToHost } from '../training/schedule.ts';
import type { WholeProjections } from '../training/whole-projections.ts';
import type { DistillationSteps, DistillationStepsRequest } from './distillation-steps.ts';
import { countedRows, type TrainingPiece } from './pieces.ts';

/** Numbers of logits that are formed at once, of each model. */
const LOGITS_AT_ONCE = 2 ** 25;

/** Both models in native code. */
interface NativeModels {
  teacher: NativeTrainingModel;
  student: NativeTrainingModel;
  layers: readonly WholeProjections[];
}

/**
 * Steps on the host where native code runs both models and the objective is the divergence from the original alone; else undefined.
 * Streams, gradients and what is trained stay on the host, so that nothing goes to the backend and back at every step.
 */
export function distillOnHost(request: DistillationStepsRequest): DistillationSteps | undefined {
  const { teacher, native, objective, layers } = request.loss;
  const isPlain = objective.nextTokenShare === 0 && objective.hiddenWeight === 0 && objective.temperature === 1;
  if (!isPlain || request.settings.averageDecay > 0) return undefined;
  if (teacher?.native === undefined || native === undefined || !areWhole(layers)) return undefined;
  return new HostDistillation(request, { teacher: teacher.native, student: native.model, layers });
}

/** A parameter on the host, and where it comes from and goes to. */
interface HeldParameter extends HostParameter {
  layer: number;
  role: TensorRole;
  moments: AdamMoments;
}

class HostDistillation implements DistillationSteps {
  readonly readEvery = 1;
  /** In the order of the optimiser's parameters; read from the variables at the first step. */
  private held: HeldParameter[] | undefined;
  private isPublished = true;
  private unread: number[] = [];

  constructor(
    private readonly request: DistillationStepsRequest,
    private readonly models: NativeModels,
  ) {}

  async take(batch: readonly TrainingPiece[], _: number, rate: number): Promise<void> {
    const { optimizer } = this.request;
    this.held ??= await this.readHeld();
    const { held } = this;
    const rowsOfStep = Math.max(1, countedRows(batch));
    const gradients: Float32Array[] = [];
    let total = 0;
    for (const piece of batch) {
      const found = await this.gradientsOf(piece, rowsOfStep, held);
      total += found.loss;
      for (const [place, gradient] of found.gradients.entries()) {
        const sum = gradients[place];
        if (sum === undefined) gradients[place] = gradient;
        else for (let index = 0; index < sum.length; index++) sum[index]! += gradient[index]!;
      }
    }
    optimizer.applyOnHost(held, gradients, rate);
    this.isPublished = false;
    this.unread.push(total);
  }

  async losses(): Promise<number[]> {
    return this.unread.splice(0);
  }

  publish(): void {
    if (this.isPublished) return;
    for (const { value, mean, square, moments } of this.held!) {
      put(moments.parameter.variable, value);
      put(moments.mean, mean);
      put(moments.square, square);
    }
    this.isPublished = true;
  }

  dispose(): void {
    this.held = undefined;
  }

  /** What a piece adds to the loss of a step, and to its gradients to the parameters, in their order. */
  private async gradientsOf(piece: TrainingPiece, rowsOfStep: number, held: readonly HeldParameter[]) {
    const { student, layers } = this.models;
    const values = layers.map(() => new Map<TensorRole, Float32Array>());
    for (const { layer, role, value } of held) values[layer]!.set(role, value);
    const streams = await student.streams(piece.tokenIds, values);
    const weights = Float32Array.from(piece.counted, (counted) => counted / rowsOfStep);
    const readout = await this.readOut(piece, streams.pop()!, weights);
    const byLayer: ReadonlyMap<TensorRole, Float32Array>[] = [];
    let upstream: Float32Array = readout.stream;
    for (let layer = layers.length - 1; layer >= 0; layer--) {
      const found = await student.gradients(layer, streams[layer]!, upstream, values[layer]!);
      byLayer[layer] = found.matrices;
      upstream = found.stream;
      await yieldToHost();
      throwIfAborted(this.request.loss.signal);
    }
    return { loss: readout.loss, gradients: held.map(({ layer, role }) => byLayer[layer]!.get(role)!) };
  }

  /** The divergence from the original and its gradient to the stream behind the last layer, for some rows of it at a time. */
  private async readOut({ tokenIds }: TrainingPiece, stream: Float32Array, weights: Float32Array) {
    const { teacher, student } = this.models;
    const original = (await teacher.streams(tokenIds, [])).at(-1)!;
    const { vocabSize } = this.request.loss.student.shape;
    const rowsAtOnce = Math.max(1, Math.floor(LOGITS_AT_ONCE / vocabSize));
    const rows = weights.length;
    const gradient = new Float32Array(stream.length);
    let loss = 0;
    for (let from = 0; from < rows; from += rowsAtOnce) {
      const to = Math.min(rows, from + rowsAtOnce);
      const rowsOf = (values: Float32Array) => {
        const width = values.length / rows;
        return values.subarray(from * width, to * width);
      };
      const target = await teacher.logits(rowsOf(original));
      const part = await student.divergence(rowsOf(stream), target, weights.subarray(from, to));
      loss += part.divergence;
      gradient.set(part.stream, from * (stream.length / rows));
    }
    return { loss, stream: gradient };
  }

  private async readHeld(): Promise<HeldParameter[]> {
    const places = new Map<Variable, { layer: number; role: TensorRole }>();
    for (const [layer, { roles }] of this.models.layers.entries()) {
      for (const [role, variable] of roles) places.set(variable, { layer, role });
    }
    const held: HeldParameter[] = [];
    for (const moments of this.request.optimizer.moments()) {
      const { parameter, mean, square } = moments;
      held.push({
        ...places.get(parameter.variable)!,
        moments,
        value: await copyOf(parameter.variable),
        mean: await copyOf(mean),
        square: await copyOf(square),
      });
    }
    return held;
  }
}

async function copyOf(variable: Variable): Promise<Float32Array> {
  return (await variable.data<'float32'>()).slice();
}

function put(variable: Variable, values: Float32Array): void {
  tidy(() => variable.assign(tensor(values, variable.shape, 'float32')));
}
