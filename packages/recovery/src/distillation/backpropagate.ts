import { throwIfAborted } from '@kvlr/core';
import type { DecoderTensors, SequenceContext } from '@kvlr/runtime';
import { add, grads, type NamedTensorMap, type Scalar, type Tensor, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { residentLayers } from '../training/frozen-layers.ts';
import { readScalars } from '../training/read-scalars.ts';
import { yieldToHost } from '../training/schedule.ts';
import type { StandIn, TrainedLayer } from '../training/trained-layer.ts';
import { hiddenGradient } from './hidden-states.ts';
import type { Objective } from './objective.ts';
import { uploadRows } from './piece-rows.ts';
import { countedRows, predictedRows, type TrainingPiece } from './pieces.ts';
import { type ReadoutSums, readoutGradient, readoutSums } from './readout.ts';
import { lastStream, layerOutput, runStreams, type StreamRun } from './streams.ts';
import type { Teacher } from './teacher.ts';

export interface LossRequest extends StreamRun {
  /** Absent where the objective does not ask for the original. */
  teacher?: Teacher | undefined;
  student: DecoderTensors;
  layers: readonly TrainedLayer[];
  /** Of the pieces. */
  context: SequenceContext;
  objective: Objective;
}

/**
 * What some pieces add to the loss of a step whose counted rows are `rowsOfStep`, and to its gradients to all variables of the layers,
 * by the variables' names. Layer by layer from the last: each is computed again from the stream before it, so that memory holds the
 * inner activations of one layer and one stream for each. The caller disposes loss and gradients.
 */
export async function backpropagate(
  request: LossRequest,
  pieces: readonly TrainingPiece[],
  rowsOfStep = countedRows(pieces),
): Promise<{ loss: Scalar; gradients: NamedTensorMap }> {
  const { teacher, student, layers, objective, context, native, signal, frozen = residentLayers(student) } = request;
  const { temperature, hiddenWeight } = objective;
  const held = new Set<Tensor>();
  const hold = <Kept extends Tensor>(tensor: Kept): Kept => {
    held.add(tensor);
    return tensor;
  };
  const release = (tensor: Tensor) => {
    held.delete(tensor);
    tensor.dispose();
  };
  const gradients: NamedTensorMap = {};
  const view = await teacher?.view(pieces, { temperature, streams: hiddenWeight > 0, signal });
  const hiddenShare = (hiddenWeight / layers.length) * (countedRows(pieces) / rowsOfStep);
  /** Adds what the distance of the stream after a layer from the original's adds. */
  const withHidden = (layer: number, stream: Tensor2D, total: StreamLoss): StreamLoss => {
    const original = view?.streams[layer];
    if (original === undefined) return total;
    const sums = tidy(() => addHidden(total, hiddenGradient(stream, original, uploadRows(pieces), hiddenShare)));
    hold(sums.loss);
    hold(sums.gradient);
    for (const tensor of [total.loss, total.gradient]) release(tensor);
    return sums;
  };
  try {
    const streams = await runStreams(student, pieces, request);
    streams.forEach(hold);
    const stream = streams.pop()!;
    let total = tidy(() =>
      readoutGradient({ student, stream, teacher: view, rows: uploadRows(pieces) }, objective, rowsOfStep),
    );
    hold(total.loss);
    hold(total.gradient);
    total = withHidden(layers.length - 1, stream, total);
    release(stream);
    for (let layer = layers.length - 1; layer >= 0; layer--) {
      throwIfAborted(signal);
      const before = streams[layer]!;
      const variables = layers[layer]!.variables();
      // The embedding is frozen: below the first layer nothing asks for a gradient.
      const inputs = layer > 0 ? [...variables, before] : variables;
      const found =
        native === undefined
          ? await frozen.use(layer, (weights) => {
              const place = { shape: student.shape, layer, context };
              return layerGradients(before, layers[layer]!.standIn(weights), place, inputs, total.gradient);
            })
          : await native.gradients(layer, before, total.gradient, pieces.length);
      found.forEach(hold);
      variables.forEach(({ name }, index) => {
        gradients[name] = found[index]!;
      });
      release(total.gradient);
      // Native code gives the last one whether it is asked for or not.
      if (layer === 0 && found.length > variables.length) release(found.at(-1)!);
      if (layer > 0) total = withHidden(layer - 1, before, { loss: total.loss, gradient: found.at(-1)! as Tensor2D });
      release(before);
      await yieldToHost();
    }
    return { loss: total.loss, gradients };
  } catch (error) {
    for (const tensor of held) tensor.dispose();
    throw error;
  } finally {
    view?.dispose();
  }
}

/** Of what comes to the stream after a layer, what comes to its variables and the stream before it. */
export function layerGradients(
  before: Tensor2D,
  standIn: StandIn,
  place: Parameters<typeof layerOutput>[2],
  inputs: Tensor[],
  gradient: Tensor2D,
): Tensor[] {
  return grads(() => layerOutput(before, standIn, place))(inputs, gradient);
}

/** A loss and its gradient to a stream. */
export type StreamLoss = {
  loss: Scalar;
  gradient: Tensor2D;
};

export function addHidden(total: StreamLoss, hidden: StreamLoss): StreamLoss {
  return { loss: add(total.loss, hidden.loss), gradient: add(total.gradient, hidden.gradient) };
}

/** Means over the predictions that count, natural logarithms. */
export interface HeldOutLosses {
  /** What decides which values are taken: the two below in the shares of the objective. */
  heldOutLoss: number;
  /** KL(original || student); undefined where the original is not asked. */
  heldOutDivergence?: number;
  /** Cross-entropy of the text's next tokens. */
  heldOutNextToken: number;
}

/**
 * The losses of the student as it is now on pieces that it is not trained on, one after another, at temperature 1. They are read
 * together.
 */
export async function heldOutLosses(request: LossRequest, pieces: readonly TrainingPiece[]): Promise<HeldOutLosses> {
  const { teacher, student, objective, signal } = request;
  const sums: ReadoutSums[] = [];
  const totalOf = async (part: keyof ReadoutSums) => {
    const values = await readScalars(sums.map((each) => each[part]));
    return values.reduce((total, value) => total + value, 0);
  };
  try {
    for (const piece of pieces) {
      const view = await teacher?.view([piece], { temperature: 1, streams: false, signal });
      try {
        const stream = await lastStream(student, [piece], request);
        sums.push(tidy(() => readoutSums({ student, stream, teacher: view, rows: uploadRows([piece]) })));
        stream.dispose();
      } finally {
        view?.dispose();
      }
    }
    const heldOutNextToken = (await totalOf('nextToken')) / perRow(predictedRows(pieces));
    if (teacher === undefined) return { heldOutLoss: heldOutNextToken, heldOutNextToken };
    const heldOutDivergence = (await totalOf('divergence')) / perRow(countedRows(pieces));
    const { nextTokenShare } = objective;
    const heldOutLoss = (1 - nextTokenShare) * heldOutDivergence + nextTokenShare * heldOutNextToken;
    return { heldOutLoss, heldOutDivergence, heldOutNextToken };
  } finally {
    for (const { divergence, nextToken } of sums) for (const scalar of [divergence, nextToken]) scalar.dispose();
  }
}

/** Of no rows at all the mean is 0. */
function perRow(rows: number): number {
  return Math.max(1, rows);
}
