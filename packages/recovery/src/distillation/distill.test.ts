import { overlayModel } from '@kvlr/checkpoint';
import type { ModelSource } from '@kvlr/core';
import { createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { createLatentModel } from '../../../runtime/src/testing/latent-model.ts';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { cutPieces, type DistillationRequest, type DistillationResult, distill } from './distill.ts';
import type { DistillationCheckpoint } from './distillation-state.ts';

const teacher = createTinyModel({ seed: 4, attentionBias: true });
const windows = Array.from({ length: 8 }, (_, index) => randomTokenIds(16, teacher.shape.vocabSize, index));
const settings = { steps: 6, warmupSteps: 1, pieceLength: 16, piecesPerStep: 2, evaluateEvery: 2, learningRate: 0.02 };
let request: DistillationRequest;

beforeAll(async () => {
  request = {
    teacher,
    student: await meanPooledStudent(teacher, 2),
    windows: windows.slice(0, 6),
    heldOutWindows: windows.slice(6),
    settings,
    backend: 'wasm',
  };
});

const numbers = ({ tensors }: DistillationResult): number[] => [...tensors.values()].flatMap(({ data }) => [...data]);

const trained = (student: ModelSource, { tensors }: DistillationResult): ModelSource =>
  overlayModel(student, { shape: student.shape, tensors, id: 'distilled' });

/** KL(teacher || student) and next-token cross-entropy, means over the rows of the windows, by the Float64 decoder. */
async function oracleLosses(student: ModelSource, texts: Int32Array[]) {
  const { vocabSize } = teacher.shape;
  const totals = { divergence: 0, nextToken: 0 };
  for (const text of texts) {
    const [original, own] = [await oracleLogits(teacher, text), await oracleLogits(student, text)];
    text.forEach((_, row) => {
      const [p, q] = [original, own].map((logits) =>
        logSoftmax(logits.subarray(row * vocabSize, (row + 1) * vocabSize)),
      );
      p!.forEach((value, token) => {
        totals.divergence += Math.exp(value) * (value - q![token]!);
      });
      if (row + 1 < text.length) totals.nextToken -= q![text[row + 1]!]!;
    });
  }
  const rows = texts.length * texts[0]!.length;
  return { divergence: totals.divergence / rows, nextToken: totals.nextToken / (rows - texts.length) };
}

function logSoftmax(logits: Float64Array): Float64Array {
  const highest = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
  return logits.map((logit) => logit - highest - total);
}

describe.each(await testedBackends())('on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('takes the same steps as on the CPU', async () => {
    const few = { ...settings, steps: 2, evaluateEvery: 1 };
    const reference = await distill({ ...request, settings: few, backend: 'cpu' });
    const result = await distill({ ...request, settings: few, backend });
    expect(result.best.heldOutLoss).toBeLessThan(result.points[0]!.heldOutLoss);
    expect(differenceByRange(numbers(result), numbers(reference))).toBeLessThan(1e-3);
  });
});

describe('the loss', () => {
  it('is that of an independent decoder, before and after', async () => {
    const result = await distill({ ...request, settings: { ...settings, nextTokenShare: 0.25 } });
    for (const [student, point] of [
      [request.student, result.points[0]!],
      [trained(request.student, result), result.best],
    ] as const) {
      const expected = await oracleLosses(student, request.heldOutWindows);
      expect(point.heldOutDivergence).toBeCloseTo(expected.divergence, 4);
      expect(point.heldOutNextToken).toBeCloseTo(expected.nextToken, 4);
      expect(point.heldOutLoss).toBeCloseTo(0.75 * expected.divergence + 0.25 * expected.nextToken, 4);
    }
    expect(result.best.step).toBeGreaterThan(0);
    expect(result.trainingTokens).toBe(6 * 2 * 16);
  });
});

it('trains on pieces of windows and evaluates on whole ones', async () => {
  const result = await distill({ ...request, settings: { ...settings, pieceLength: 5 } });
  // Windows of 16 tokens give four pieces of 4.
  expect(result.trainingTokens).toBe(6 * 2 * 4);
  const { divergence } = await oracleLosses(trained(request.student, result), request.heldOutWindows);
  expect(result.best.heldOutDivergence).toBeCloseTo(divergence, 4);
  expect(result.best.step).toBeGreaterThan(0);
});

it.each([0, 3])('changes the attention of every layer and nothing else, adapters of rank %d', async (adapterRank) => {
  const result = await distill({ ...request, settings: { ...settings, adapterRank } });
  const parts = adapterRank === 0 ? ['weight', 'bias'] : ['weight'];
  const names = [0, 1].flatMap((layer) =>
    ['q', 'k', 'v', 'o'].flatMap((part) => parts.map((kind) => `model.layers.${layer}.self_attn.${part}_proj.${kind}`)),
  );
  expect([...result.tensors.keys()].sort()).toEqual(names.sort());
  expect(result.best.heldOutDivergence).toBeLessThan(0.95 * result.points[0]!.heldOutDivergence);
  const { divergence } = await oracleLosses(trained(request.student, result), request.heldOutWindows);
  expect(divergence).toBeCloseTo(result.best.heldOutDivergence, 4);
});

it('trains adapters on latent keys', async () => {
  const student = createLatentModel(2, { seed: 4 });
  const adapted = await distill({ ...request, student, settings: { ...settings, adapterRank: 2 } });
  expect(adapted.best.heldOutDivergence).toBeLessThan(adapted.points[0]!.heldOutDivergence);
  const { divergence } = await oracleLosses(trained(student, adapted), request.heldOutWindows);
  expect(divergence).toBeCloseTo(adapted.best.heldOutDivergence, 4);
});

it('goes on from any checkpoint to the same result', async () => {
  const saved: DistillationCheckpoint[] = [];
  const whole = await distill({ ...request, onCheckpoint: (checkpoint) => void saved.push(checkpoint) });
  expect(saved.map(({ step }) => step)).toEqual([0, 2, 4, 6]);
  for (const checkpoint of [saved[1]!, saved[3]!]) {
    const resumed = await distill({ ...request, checkpoint });
    expect(resumed.points).toEqual(whole.points);
    expect(numbers(resumed)).toEqual(numbers(whole));
  }
});

it('takes the start where no step helps, and stops early', async () => {
  const result = await distill({ ...request, settings: { ...settings, steps: 20, learningRate: 50, patience: 2 } });
  expect(result.points.map(({ step }) => step)).toEqual([0, 2, 4]);
  expect(result.best.step).toBe(0);
  for (const [name, { data }] of result.tensors) expect(data).toEqual(await request.student.tensors.readFloat32(name));
});

it('stops on the signal and leaves no tensors behind', async () => {
  const before = memory().numTensors;
  const control = new AbortController();
  const running = distill({
    ...request,
    signal: control.signal,
    onEvent: (event) => {
      if (event.type === 'progress' && event.completed === 3) control.abort();
    },
  });
  await expect(running).rejects.toMatchObject({ code: 'aborted' });
  expect(memory().numTensors).toBe(before);
  await distill({ ...request, settings: { ...settings, adapterRank: 2, nextTokenShare: 0.5 } });
  expect(memory().numTensors).toBe(before);
});

it('refuses what does not fit together', async () => {
  const refuse = (changes: Partial<DistillationRequest>, error: object) =>
    expect(distill({ ...request, ...changes })).rejects.toMatchObject(error);
  await refuse({ teacher: createTinyModel({ vocabSize: 60 }) }, { code: 'invalid-argument' });
  await refuse({ windows: [] }, { code: 'text-too-short', data: { name: 'windows' } });
  await refuse({ windows: [windows[0]!, windows[1]!.slice(1)] }, { code: 'invalid-argument' });
  await refuse({ windows: [Int32Array.from(windows[0]!, () => 99)] }, { code: 'tokenizer-mismatch' });
  await refuse({ settings: { nextTokenShare: 2 } }, { data: { setting: 'nextTokenShare' } });
  await refuse({ checkpoint: { step: 4, points: [], tensors: new Map() } }, { code: 'run-mismatch' });
  const [point] = (await distill({ ...request, settings: { ...settings, steps: 1 } })).points;
  await refuse({ checkpoint: { step: 0, points: [point!], tensors: new Map() } }, { code: 'run-mismatch' });
});

describe('cutPieces', () => {
  const window = (length: number) => Int32Array.from({ length }, (_, token) => token);
  const cut = (length: number, longest: number) => cutPieces([window(length)], longest).map((piece) => [...piece]);

  it('cuts windows into the fewest pieces of one length', () => {
    expect(cut(6, 3)).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(cut(7, 3)).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
    expect(cutPieces([window(4), window(4)], 2)).toHaveLength(4);
  });

  it('leaves windows that are short enough whole', () => {
    expect(cut(5, 5)).toEqual([[0, 1, 2, 3, 4]]);
    expect(cut(5, 256)).toEqual([[0, 1, 2, 3, 4]]);
  });
});
