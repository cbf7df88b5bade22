import { createSequenceContext, type DecoderTensors, selectBackend, uploadDecoder } from '@kvlr/runtime';
import { createTinyModel, expectClose, randomTokenIds } from '@kvlr/testkit';
import {
  add,
  cast,
  div,
  exp,
  logSoftmax,
  matMul,
  memory,
  mul,
  type NamedTensorMap,
  oneHot,
  rsqrt,
  type Scalar,
  slice,
  square,
  sub,
  sum,
  type Tensor2D,
  tensor1d,
  tensor2d,
  variableGrads,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { LowRankAdapters } from '../training/low-rank-adapters.ts';
import { attentionTargets, trainingTargets } from '../training/targets.ts';
import type { TrainedLayer } from '../training/trained-layer.ts';
import { WholeProjections } from '../training/whole-projections.ts';
import { backpropagate, type LossRequest } from './backpropagate.ts';
import type { Objective } from './objective.ts';
import { countedRows, type TrainingPiece } from './pieces.ts';
import { memoryTeacherStore, RecordedTeacher, recordTeacher } from './recorded-teacher.ts';
import { embedTokens, layerOutput } from './streams.ts';
import { LoadedTeacher } from './teacher.ts';

const [tokens, vocabSize] = [7, 50];
/** Two texts; of the second the first three predictions do not count. */
const pieces: TrainingPiece[] = [
  { name: 'first', tokenIds: randomTokenIds(tokens, vocabSize, 1), counted: new Uint8Array(tokens).fill(1) },
  {
    name: 'second',
    tokenIds: randomTokenIds(tokens, vocabSize, 2),
    counted: Uint8Array.from({ length: tokens }, (_, token) => Number(token >= 3)),
  },
];
const usual: Objective = { nextTokenShare: 0, temperature: 1, hiddenWeight: 0 };
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
function logProbabilities({ globals, shape }: DecoderTensors, stream: Tensor2D, temperature: number): Tensor2D {
  const meanSquare = mul(sum(mul(stream, stream), -1, true), 1 / shape.hiddenSize);
  const scale = rsqrt(add(meanSquare, shape.head.norm!.epsilon));
  const normed = mul(mul(stream, scale), globals.finalNorm!) as Tensor2D;
  const logits = matMul(normed, (globals.languageModelHead ?? globals.embedding)!, false, true);
  return logSoftmax(div(logits, temperature)) as Tensor2D;
}

/** The streams after each layer, on one tape. */
function streamsOf(model: DecoderTensors, layers?: readonly TrainedLayer[]): Tensor2D[] {
  const context = createSequenceContext({ shape: model.shape, batch: pieces.length, tokens });
  let stream = embedTokens(model, pieces);
  return model.layers.map((_, layer) => {
    const weights = model.layers[layer]!;
    stream = layerOutput(stream, layers?.[layer]?.standIn(weights) ?? { weights }, {
      shape: model.shape,
      layer,
      context,
    });
    return stream;
  });
}

/** The whole objective with gradients of one tape. */
function wholeTape(layers: readonly TrainedLayer[], { nextTokenShare, temperature, hiddenWeight }: Objective) {
  const [teacher, student] = models;
  return variableGrads(
    () => {
      const counts = pieces.flatMap(({ counted }) => [...counted]);
      const counted = tensor2d(counts, [counts.length, 1]);
      const [own, original] = [streamsOf(student, layers), streamsOf(teacher)];
      const ownLogs = logProbabilities(student, own.at(-1)!, temperature);
      const originalLogs = logProbabilities(teacher, original.at(-1)!, temperature);
      let loss = mul(sum(mul(mul(exp(originalLogs), sub(originalLogs, ownLogs)), counted)), temperature ** 2);
      loss = mul(loss, 1 - nextTokenShare);
      const plain = logProbabilities(student, own.at(-1)!, 1);
      pieces.forEach(({ tokenIds, counted }, index) => {
        const hits = cast(oneHot(tensor1d(tokenIds.slice(1), 'int32'), vocabSize), 'float32');
        const weights = tensor2d([...counted.slice(0, -1)], [tokens - 1, 1]);
        const logs = slice(plain, [index * tokens, 0], [tokens - 1, vocabSize]);
        loss = sub(loss, mul(sum(mul(mul(hits, logs), weights)), nextTokenShare));
      });
      loss = div(loss, countedRows(pieces));
      own.forEach((stream, layer) => {
        const reached = mul(sub(stream, original[layer]!), counted);
        const distance = div(sum(square(reached)), sum(square(mul(original[layer]!, counted))));
        loss = add(loss, mul(distance, hiddenWeight / own.length));
      });
      return loss as Scalar;
    },
    layers.flatMap((layer) => layer.variables()),
  );
}

function requestOf(layers: readonly TrainedLayer[], objective: Objective, batch = pieces.length): LossRequest {
  const [teacher, student] = models;
  const context = createSequenceContext({ shape: student.shape, batch, tokens });
  return { teacher: new LoadedTeacher(teacher), student, layers, objective, context };
}

async function expectGradients(received: NamedTensorMap, expected: NamedTensorMap): Promise<void> {
  expect(Object.keys(received).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, gradient] of Object.entries(expected)) {
    expectClose(await received[name]!.data(), await gradient.data(), 1e-5);
  }
}

const wholeLayers = () => models[1].layers.map((layer) => new WholeProjections(layer));
const adaptedLayers = () =>
  models[1].layers.map((layer, index) => {
    const adapters = new LowRankAdapters(layer, { rank: 2, alpha: 3, targets: trainingTargets, seed: index });
    // B moves away from zero, so that A gets gradients too.
    for (const part of adapters.variables()) part.assign(add(part, 0.05));
    return adapters;
  });

describe('gives the loss and the gradients of the whole tape', () => {
  it.each([
    ['of distillation', usual],
    ['with next tokens', { ...usual, nextTokenShare: 0.3 }],
    ['of next tokens alone', { ...usual, nextTokenShare: 1 }],
    ['at another temperature', { ...usual, temperature: 2.5, nextTokenShare: 0.2 }],
    ['with hidden states', { ...usual, hiddenWeight: 0.7 }],
  ])('%s', async (_, objective) => {
    for (const layers of [wholeLayers(), adaptedLayers()]) {
      const { value, grads } = wholeTape(layers, objective);
      const received = await backpropagate(requestOf(layers, objective), pieces);
      expect((await received.loss.data())[0]).toBeCloseTo((await value.data())[0]!, 5);
      await expectGradients(received.gradients, grads);
    }
  });
});

it('accumulates the passes of a step to the same gradients', async () => {
  const layers = wholeLayers();
  const whole = await backpropagate(requestOf(layers, usual), pieces);
  const parts: Awaited<ReturnType<typeof backpropagate>>[] = [];
  for (const piece of pieces) {
    parts.push(await backpropagate(requestOf(layers, usual, 1), [piece], countedRows(pieces)));
  }
  const sums = Object.entries(parts[0]!.gradients).map(([name, part]) => [name, add(part, parts[1]!.gradients[name]!)]);
  await expectGradients(Object.fromEntries(sums), whole.gradients);
});

describe('what the original says from a record', () => {
  it.each([vocabSize, 2 * vocabSize])('is the original with all %d tokens', async (topTokens) => {
    const layers = wholeLayers();
    const objective = { ...usual, temperature: 1.5 };
    const store = memoryTeacherStore();
    await recordTeacher(models[0], pieces, store, { topTokens, temperature: 1.5 });
    const request = { ...requestOf(layers, objective), teacher: new RecordedTeacher(store, vocabSize) };
    const received = await backpropagate(request, pieces);
    const expected = await backpropagate(requestOf(layers, objective), pieces);
    expect((await received.loss.data())[0]).toBeCloseTo((await expected.loss.data())[0]!, 5);
    await expectGradients(received.gradients, expected.gradients);
  });

  it('tells no more with fewer, and its gradient is that of its loss', async () => {
    const losses: number[] = [];
    for (const topTokens of [1, 4, 20, vocabSize]) {
      const layers = wholeLayers();
      const store = memoryTeacherStore();
      await recordTeacher(models[0], pieces, store, { topTokens, temperature: 1 });
      const request = { ...requestOf(layers, usual), teacher: new RecordedTeacher(store, vocabSize) };
      const { loss, gradients } = await backpropagate(request, pieces);
      const [before] = await loss.data();
      losses.push(before!);
      const step = 1e-3;
      let squares = 0;
      for (const part of layers.flatMap((layer) => layer.variables())) {
        const gradient = gradients[part.name]!;
        squares += (await sum(square(gradient)).data())[0]!;
        part.assign(sub(part, mul(gradient, step)));
      }
      const [after] = await (await backpropagate(request, pieces)).loss.data();
      expect((before! - after!) / (step * squares)).toBeCloseTo(1, 1);
    }
    expect(losses).toEqual(losses.toSorted((a, b) => a - b));
  });
});

it('holds the inner activations of one layer at a time', async () => {
  const peakOf = async (numLayers: number): Promise<number> => {
    const student = await uploadDecoder(createTinyModel({ numLayers, vocabSize }));
    const layers = student.layers.map((layer) => new WholeProjections(layer, { targets: attentionTargets }));
    const context = createSequenceContext({ shape: student.shape, batch: 2, tokens });
    const before = memory().numTensors;
    let most = 0;
    const signal = {
      get aborted() {
        most = Math.max(most, memory().numTensors - before);
        return false;
      },
    } as AbortSignal;
    await backpropagate({ student, layers, context, objective: { ...usual, nextTokenShare: 1 }, signal }, pieces);
    return most;
  };
  // Between two layers there lie one stream for each and the gradients of those that are done.
  const [two, six] = [await peakOf(2), await peakOf(6)];
  expect(six - two).toBeLessThanOrEqual(4 * (1 + 4));
});
