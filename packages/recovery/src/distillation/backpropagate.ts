import { throwIfAborted } from '@kvlr/core';
import { grads, type NamedTensorMap, type Scalar, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import type { TrainedAttention } from '../attention/trained-attention.ts';
import { yieldToHost } from '../training/yield-to-host.ts';
import type { LoadedLanguageModel } from './loaded-language-model.ts';
import { readoutGradient } from './readout.ts';
import { lastStream, layerOutput, runStreams, type StreamRun } from './run-streams.ts';

export interface LossRequest extends StreamRun {
  teacher: LoadedLanguageModel;
  student: LoadedLanguageModel;
  attentions: readonly TrainedAttention[];
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
  const { teacher, student, attentions, nextTokenShare, context, signal } = request;
  const { shape } = student.source;
  const held = new Set<Tensor>();
  const release = (tensor: Tensor) => {
    held.delete(tensor);
    tensor.dispose();
  };
  const gradients: NamedTensorMap = {};
  try {
    const teacherStream = await lastStream(teacher, windows, { context, signal });
    held.add(teacherStream);
    const streams = await runStreams(student, windows, request);
    for (const stream of streams) held.add(stream);
    const studentStream = streams.pop()!;
    const readout = readoutGradient({ teacher, student, teacherStream, studentStream, windows, nextTokenShare });
    let toStream: Tensor2D = readout.gradient;
    held.add(toStream).add(readout.loss);
    for (const stream of [teacherStream, studentStream]) release(stream);
    for (let layer = shape.numLayers - 1; layer >= 0; layer--) {
      throwIfAborted(signal);
      const stream = streams[layer]!;
      const attention = attentions[layer]!;
      const variables = attention.variables();
      // The embedding is frozen: below the first layer nothing asks for a gradient.
      const inputs = layer > 0 ? [...variables, stream] : variables;
      const found = grads(() => layerOutput(stream, student.layers[layer]!, { shape, layer, context, attention }))(
        inputs,
        toStream,
      );
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
