import { throwIfAborted } from '@kvlr/core';
import { type DecoderTensors, decoderLayer, embed, type SequenceContext } from '@kvlr/runtime';
import {
  grads,
  type NamedTensorMap,
  type Scalar,
  type Tensor,
  type Tensor2D,
  tensor1d,
  tidy,
} from '@tensorflow/tfjs-core';
import { yieldToHost } from '../training/schedule.ts';
import type { TrainedAttention } from '../training/trained-attention.ts';
import type { DistillationPoint } from './distillation-state.ts';
import { readoutGradient, readoutSums } from './readout.ts';

export interface LossRequest extends StreamRun {
  teacher: DecoderTensors;
  student: DecoderTensors;
  attentions: readonly TrainedAttention[];
  /** Of the teacher's windows; `context` is the student's. */
  teacherContext: SequenceContext;
  nextTokenShare: number;
}

/**
 * The training loss of some windows and its gradients to all variables of the attentions, by the variables' names. Layer by
 * layer from the last: each is computed again from the stream before it, so that memory holds the inner activations of one
 * layer and one stream for each. The caller disposes loss and gradients.
 */
export async function backpropagate(
  request: LossRequest,
  windows: readonly Int32Array[],
): Promise<{ loss: Scalar; gradients: NamedTensorMap }> {
  const { teacher, student, attentions, nextTokenShare, context, teacherContext, signal } = request;
  const held = new Set<Tensor>();
  const release = (tensor: Tensor) => {
    held.delete(tensor);
    tensor.dispose();
  };
  const gradients: NamedTensorMap = {};
  try {
    const teacherStream = await lastStream(teacher, windows, { context: teacherContext, signal });
    held.add(teacherStream);
    const streams = await runStreams(student, windows, request);
    for (const stream of streams) held.add(stream);
    const studentStream = streams.pop()!;
    const readout = readoutGradient({ teacher, student, teacherStream, studentStream, windows, nextTokenShare });
    let toStream: Tensor2D = readout.gradient;
    held.add(toStream).add(readout.loss);
    for (const stream of [teacherStream, studentStream]) release(stream);
    for (let layer = student.layers.length - 1; layer >= 0; layer--) {
      throwIfAborted(signal);
      const stream = streams[layer]!;
      const attention = attentions[layer]!;
      const variables = attention.variables();
      // The embedding is frozen: below the first layer nothing asks for a gradient.
      const inputs = layer > 0 ? [...variables, stream] : variables;
      const found = grads(() => layerOutput(stream, student, layer, context, attention))(inputs, toStream);
      for (const gradient of found) held.add(gradient);
      variables.forEach(({ name }, index) => {
        gradients[name] = found[index]!;
      });
      for (const tensor of [stream, toStream]) release(tensor);
      if (layer > 0) toStream = found.at(-1)! as Tensor2D;
      await yieldToHost();
    }
    return { loss: readout.loss, gradients };
  } catch (error) {
    for (const tensor of held) tensor.dispose();
    throw error;
  }
}

export type HeldOutLosses = Pick<DistillationPoint, 'heldOutLoss' | 'heldOutDivergence' | 'heldOutNextToken'>;

/** The losses of the student as it is now on windows that it is not trained on, one window after another. */
export async function heldOutLosses(request: LossRequest, windows: readonly Int32Array[]): Promise<HeldOutLosses> {
  const { teacher, student, nextTokenShare, teacherContext, signal } = request;
  const totals = { divergence: 0, nextToken: 0 };
  for (const window of windows) {
    const teacherStream = await lastStream(teacher, [window], { context: teacherContext, signal });
    try {
      const studentStream = await lastStream(student, [window], request);
      const sums = readoutSums({ ...request, teacherStream, studentStream, windows: [window] });
      studentStream.dispose();
      for (const part of ['divergence', 'nextToken'] as const) {
        totals[part] += (await sums[part].data())[0]!;
        sums[part].dispose();
      }
    } finally {
      teacherStream.dispose();
    }
  }
  const rows = windows.length * windows[0]!.length;
  const heldOutDivergence = totals.divergence / rows;
  const heldOutNextToken = totals.nextToken / (rows - windows.length);
  const heldOutLoss = (1 - nextTokenShare) * heldOutDivergence + nextTokenShare * heldOutNextToken;
  return { heldOutLoss, heldOutDivergence, heldOutNextToken };
}

/** Stands in for a layer's own attention. */
type StandIn = Pick<TrainedAttention, 'weights' | 'project'>;

/** The stream after one layer, differentiable in the stream and in the attention's variables. Call inside tf.tidy. */
export function layerOutput(
  stream: Tensor2D,
  { shape, layers }: DecoderTensors,
  layer: number,
  context: SequenceContext,
  attention?: StandIn,
): Tensor2D {
  const weights = attention?.weights ?? layers[layer]!;
  return decoderLayer(stream, weights, { shape, layer, context, project: attention?.project }).after;
}

/** The streams before the first layer, windows one under another, [windows * tokens, hiddenSize]. */
export function embedTokens(model: DecoderTensors, windows: readonly Int32Array[]): Tensor2D {
  return tidy(() => {
    const ids = windows.flatMap((window) => [...window]);
    const positions = windows.flatMap((window) => [...window.keys()]);
    return embed(tensor1d(ids, 'int32'), positions, model);
  });
}

interface StreamRun {
  context: SequenceContext;
  /** Stand in for the model's own attention, one for each layer. */
  attentions?: readonly TrainedAttention[];
  signal?: AbortSignal;
}

/**
 * The streams before each layer and after the last, numLayers + 1 tensors [windows * tokens, hiddenSize]. They are all that
 * is kept of the run: the backward pass computes each layer again (gradient checkpointing, Chen et al. 2016).
 */
async function runStreams(
  model: DecoderTensors,
  windows: readonly Int32Array[],
  { context, attentions, signal }: StreamRun,
): Promise<Tensor2D[]> {
  const streams = [embedTokens(model, windows)];
  try {
    for (const layer of model.layers.keys()) {
      throwIfAborted(signal);
      const stream = streams[layer]!;
      streams.push(tidy(() => layerOutput(stream, model, layer, context, attentions?.[layer])));
      await yieldToHost();
    }
    return streams;
  } catch (error) {
    for (const stream of streams) stream.dispose();
    throw error;
  }
}

/** The stream after the last layer; the others are freed. */
async function lastStream(model: DecoderTensors, windows: readonly Int32Array[], run: StreamRun): Promise<Tensor2D> {
  const streams = await runStreams(model, windows, run);
  for (const stream of streams.slice(0, -1)) stream.dispose();
  return streams.at(-1)!;
}
