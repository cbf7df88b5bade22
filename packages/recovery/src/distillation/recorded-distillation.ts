import { KvlrError } from '@kvlr/core';
import { allocateTensor, RepeatedStep, type SequenceContext } from '@kvlr/runtime';
import {
  add,
  getBackend,
  type NamedTensorMap,
  type Scalar,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '@tensorflow/tfjs-core';
import { OwnedVariables } from '../training/owned-variables.ts';
import { addHidden, layerGradients, type StreamLoss } from './backpropagate.ts';
import { addGradients, type DistillationSteps, type DistillationStepsRequest } from './distillation-steps.ts';
import { hiddenGradient } from './hidden-states.ts';
import { type PieceRows, rowValues } from './piece-rows.ts';
import { countedRows, type TrainingPiece } from './pieces.ts';
import { readoutGradient } from './readout.ts';
import { streamsAtOnce } from './streams.ts';
import type { TeacherView } from './teacher.ts';

/** What the recording reads of a pass, on the device. */
interface PassInputs extends PieceRows {
  /** Weight of a layer's hidden states. */
  hiddenShare: Scalar;
}

type ViewAtOnce = (rows: PieceRows, settings: { temperature: number; streams: boolean }) => TeacherView;

/** Steps between two readings of losses: fewer than a second, many enough that the device is hardly waited for. */
const READ_EVERY = 16;

/** Recorded steps where the request can be recorded: on WebGPU, with all layers of both models in its memory; else undefined. */
export function recordDistillation(request: DistillationStepsRequest): DistillationSteps | undefined {
  const { teacher, student, context, native } = request.loss;
  if (getBackend() !== 'webgpu' || native !== undefined || student.layers.length === 0) return undefined;
  const view = teacher?.viewAtOnce(context.batch, context.tokens);
  if (teacher !== undefined && view === undefined) return undefined;
  try {
    return new RecordedDistillation(request, context, view);
  } catch (error) {
    if (KvlrError.isInstance(error) && error.code === 'unsupported-feature') return undefined;
    throw error;
  }
}

/**
 * Steps on WebGPU that are recorded once: the original's pass, the student's, all gradients and Adam, of all passes of a step. Memory is
 * that of one operation after another: the gradient of each layer is found from the stream before it, which alone is kept.
 */
class RecordedDistillation implements DistillationSteps {
  readonly readEvery = READ_EVERY;
  private readonly owned: OwnedVariables;
  private readonly passes: PassInputs[];
  private readonly rowsOfStep: Scalar;
  private readonly numbers: Tensor2D;
  private readonly step: RepeatedStep;

  constructor(
    private readonly request: DistillationStepsRequest,
    context: SequenceContext,
    private readonly view: ViewAtOnce | undefined,
  ) {
    const { layers, optimizer, piecesPerStep, piecesAtOnce } = request;
    const moments = optimizer.moments().flatMap(({ mean, square }) => [mean, square]);
    this.owned = new OwnedVariables([...layers.flatMap((layer) => layer.variables()), ...moments]);
    const rows = context.batch * context.tokens;
    this.passes = Array.from({ length: piecesPerStep / piecesAtOnce }, () => ({
      tokenIds: allocateTensor([rows], 'int32') as Tensor1D,
      nextIds: allocateTensor([rows], 'int32') as Tensor1D,
      counted: allocateTensor([rows, 1], 'float32') as Tensor2D,
      predicted: allocateTensor([rows, 1], 'float32') as Tensor2D,
      hiddenShare: allocateTensor([], 'float32') as Scalar,
    }));
    this.rowsOfStep = allocateTensor([], 'float32') as Scalar;
    this.numbers = allocateTensor([optimizer.moments().length, 3], 'float32') as Tensor2D;
    try {
      // Twice as many: some are read while the next ones come.
      this.step = new RepeatedStep({ body: () => this.body(), written: this.owned.tensors, results: 2 * READ_EVERY });
    } catch (error) {
      this.disposeTensors();
      throw error;
    }
  }

  async take(batch: readonly TrainingPiece[], _: number, rate: number): Promise<void> {
    const { optimizer, piecesAtOnce, loss, layers } = this.request;
    const rowsOfStep = Math.max(1, countedRows(batch));
    this.owned.settle();
    const numbers = optimizer.advance(rate);
    this.step.run(({ write }) => {
      write(numbers, this.numbers);
      write(Float32Array.of(rowsOfStep), this.rowsOfStep);
      this.passes.forEach((inputs, pass) => {
        const pieces = batch.slice(pass * piecesAtOnce, (pass + 1) * piecesAtOnce);
        const hiddenShare = (loss.objective.hiddenWeight / layers.length) * (countedRows(pieces) / rowsOfStep);
        const values = { ...rowValues(pieces), hiddenShare: Float32Array.of(hiddenShare) };
        for (const part of Object.keys(values) as (keyof PassInputs)[]) write(values[part], inputs[part]);
      });
    });
  }

  losses(): Promise<number[]> {
    return this.step.read();
  }

  /** They are written where they lie. */
  publish(): void {}

  dispose(): void {
    this.step.dispose();
    this.disposeTensors();
  }

  private body(): Scalar {
    return tidy(() => {
      let loss: Scalar | undefined;
      let gradients: NamedTensorMap = {};
      for (const inputs of this.passes) {
        const pass = this.lossAndGradients(inputs);
        loss = loss === undefined ? pass.loss : add(loss, pass.loss);
        gradients = Object.keys(gradients).length === 0 ? pass.gradients : addGradients(gradients, pass.gradients);
      }
      this.request.optimizer.applyFused(gradients, this.numbers, true);
      return loss!;
    });
  }

  /** What `backpropagate` finds, at once. */
  private lossAndGradients(inputs: PassInputs): { loss: Scalar; gradients: NamedTensorMap } {
    const { student, layers, objective, context } = this.request.loss;
    const { temperature, hiddenWeight } = objective;
    const { shape } = student;
    const view = this.view?.(inputs, { temperature, streams: hiddenWeight > 0 });
    const gradients: NamedTensorMap = {};
    const withHidden = (layer: number, stream: Tensor2D, total: StreamLoss): StreamLoss => {
      const original = view?.streams[layer];
      if (original === undefined) return total;
      return tidy(() => addHidden(total, hiddenGradient(stream, original, inputs, inputs.hiddenShare)));
    };
    const streams = streamsAtOnce(student, inputs.tokenIds, { context, layers }, 'all');
    const last = streams.pop()!;
    const ofReadout = readoutGradient(
      { student, stream: last, teacher: view, rows: inputs },
      objective,
      this.rowsOfStep,
    );
    let total = withHidden(layers.length - 1, last, ofReadout);
    last.dispose();
    for (let layer = layers.length - 1; layer >= 0; layer--) {
      const before = streams[layer]!;
      const standIn = layers[layer]!.standIn(student.layers[layer]!);
      const variables = layers[layer]!.variables();
      const wanted: Tensor[] = layer > 0 ? [...variables, before] : variables;
      const { gradient } = total;
      const found = tidy(() => layerGradients(before, standIn, { shape, layer, context }, wanted, gradient));
      variables.forEach(({ name }, index) => {
        gradients[name] = found[index]!;
      });
      gradient.dispose();
      if (layer > 0) total = withHidden(layer - 1, before, { loss: total.loss, gradient: found.at(-1)! as Tensor2D });
      before.dispose();
    }
    view?.dispose();
    return { loss: total.loss, gradients };
  }

  private disposeTensors(): void {
    this.owned.dispose();
    for (const inputs of this.passes) for (const tensor of Object.values(inputs)) tensor.dispose();
    for (const tensor of [this.rowsOfStep, this.numbers]) tensor.dispose();
  }
}
