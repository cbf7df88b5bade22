import { createSequenceContext, type DecoderTensors, selectBackend, uploadDecoder } from '@kvlr/runtime';
import { createTinyModel, expectClose, randomTokenIds } from '@kvlr/testkit';
import {
  add,
  cast,
  exp,
  logSoftmax,
  matMul,
  mul,
  oneHot,
  rsqrt,
  type Scalar,
  scalar,
  slice,
  sub,
  sum,
  type Tensor,
  type Tensor2D,
  tensor1d,
  variableGrads,
} from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { AdaptedAttention, TrainableAttention } from '../training/trained-attention.ts';
import { backpropagate, embedTokens, layerOutput } from './backpropagate.ts';

const windows = [randomTokenIds(7, 50, 1), randomTokenIds(7, 50, 2)];
const rows = 14;
let models: [teacher: DecoderTensors, student: DecoderTensors];

beforeAll(async () => {
  await selectBackend({ backend: 'cpu' });
  models = [
    await uploadDecoder(createTinyModel({ seed: 3 })),
    await uploadDecoder(
      createTinyModel({ seed: 5, numKeyValueHeads: 2, attentionBias: true, tieWordEmbeddings: true }),
    ),
  ];
});

/** Norm and head written out once more. */
function logProbabilities({ globals, shape }: DecoderTensors, stream: Tensor2D): Tensor2D {
  const meanSquare = mul(sum(mul(stream, stream), -1, true), 1 / shape.hiddenSize);
  const scale = rsqrt(add(meanSquare, shape.head.norm!.epsilon));
  const normed = mul(mul(stream, scale), globals.finalNorm!) as Tensor2D;
  return logSoftmax(matMul(normed, (globals.languageModelHead ?? globals.embedding)!, false, true)) as Tensor2D;
}

it.each([
  [0, 0],
  [0, 0.3],
  [2, 0],
])(
  'gives the gradients of the whole tape, adapters of rank %d, next tokens with share %d',
  async (rank, nextTokenShare) => {
    const [teacher, student] = models;
    const attentions = student.layers.map((layer, index) =>
      rank > 0 ? new AdaptedAttention(layer, { rank, seed: index }) : new TrainableAttention(layer),
    );
    const context = createSequenceContext({ shape: student.shape, batch: 2, tokens: 7 });
    const run = (model: DecoderTensors, trained?: typeof attentions): Tensor2D =>
      model.layers.reduce(
        (stream, _, layer) => layerOutput(stream, model, layer, context, trained?.[layer]),
        embedTokens(model, windows),
      );
    const { value, grads } = variableGrads(
      () => {
        const own = logProbabilities(student, run(student, attentions));
        const original = logProbabilities(teacher, run(teacher));
        const divergence = sum(mul(exp(original), sub(original, own)));
        let nextToken: Tensor = scalar(0);
        windows.forEach((window, index) => {
          const hits = cast(oneHot(tensor1d(window.slice(1), 'int32'), 50), 'float32');
          nextToken = sub(nextToken, sum(mul(hits, slice(own, [index * 7, 0], [6, 50]))));
        });
        return mul<Scalar>(add(mul(divergence, 1 - nextTokenShare), mul(nextToken, nextTokenShare)), 1 / rows);
      },
      attentions.flatMap((attention) => attention.variables()),
    );
    const teacherContext = createSequenceContext({ shape: teacher.shape, batch: 2, tokens: 7 });
    const request = { teacher, student, attentions, nextTokenShare, context, teacherContext };
    const received = await backpropagate(request, windows);
    expect((await received.loss.data())[0]).toBeCloseTo((await value.data())[0]!, 5);
    expect(Object.keys(received.gradients).sort()).toEqual(Object.keys(grads).sort());
    for (const [name, gradient] of Object.entries(grads)) {
      expectClose(await received.gradients[name]!.data(), await gradient.data(), 1e-5);
    }
  },
);
