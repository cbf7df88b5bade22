import { overlayModel } from '@kvlr/checkpoint';
import { layerTensors, type ModelSource } from '@kvlr/core';
import { createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { createLatentModel } from '../../../runtime/src/testing/latent-model.ts';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { targetsOf } from '../adapters/adapter.ts';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { type DistillationRequest, type DistillationResult, distill } from './distill.ts';
import type { DistillationCheckpoint, DistillationPoint } from './distillation-state.ts';
import { cutPieces } from './pieces.ts';
import { memoryTeacherStore } from './recorded-teacher.ts';

const teacher = createTinyModel({ seed: 4, attentionBias: true });
const windows = Array.from({ length: 8 }, (_, index) => randomTokenIds(16, teacher.shape.vocabSize, index));
const settings = { steps: 6, warmupSteps: 1, pieceLength: 16, piecesPerStep: 2, evaluateEvery: 2, learningRate: 0.02 };
const heldOut = windows.slice(6);
let request: DistillationRequest & { teacher: ModelSource };

beforeAll(async () => {
  request = {
    teacher,
    student: await meanPooledStudent(teacher, 2),
    windows: windows.slice(0, 6),
    heldOutWindows: heldOut,
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
  const mixture = { nextTokenShare: 0.3, temperature: 1.5, hiddenWeight: 0.2, clipNorm: 1, averageDecay: 0.5 };
  it.skipIf(skip).each([
    ['whole matrices', {}],
    ['adapters and a mixture of losses', { ...mixture, adapterRank: 2, adapterAlpha: 4, adapterDropout: 0.1 }],
    ['the likeliest tokens of the original', { topTokens: 8, targets: ['v_proj', 'up_proj'] }],
  ] as const)('takes the same steps as on the CPU with %s', async (_, changes) => {
    const few = { ...settings, steps: 2, evaluateEvery: 1, ...changes };
    const reference = await distill({ ...request, settings: few, backend: 'cpu' });
    const result = await distill({ ...request, settings: few, backend });
    expect(result.best.heldOutLoss).toBeLessThan(result.points[0]!.heldOutLoss);
    expect(differenceByRange(numbers(result), numbers(reference))).toBeLessThan(1e-3);
    result.points.forEach(({ heldOutLoss }, place) => {
      expect(heldOutLoss).toBeCloseTo(reference.points[place]!.heldOutLoss, 4);
    });
  });
});

describe('the loss', () => {
  it('is that of an independent decoder, before and after', async () => {
    const result = await distill({ ...request, settings: { ...settings, nextTokenShare: 0.25 } });
    for (const [student, point] of [
      [request.student, result.points[0]!],
      [trained(request.student, result), result.best],
    ] as const) {
      const expected = await oracleLosses(student, heldOut);
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
  const { divergence } = await oracleLosses(trained(request.student, result), heldOut);
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
  expect(result.best.heldOutDivergence).toBeLessThan(0.95 * result.points[0]!.heldOutDivergence!);
  const { divergence } = await oracleLosses(trained(request.student, result), heldOut);
  expect(divergence).toBeCloseTo(result.best.heldOutDivergence!, 4);
});

it('leaves weights packed beside adapters, but for one layer at a time', async () => {
  const models = [createTinyModel({ numLayers: 6, seed: 1 }), createTinyModel({ numLayers: 6, seed: 2 })] as const;
  const layerBytes = models.map(({ shape }) =>
    shape.layers
      .flatMap((_, layer) => layerTensors(shape, layer))
      .reduce((sum, tensor) => sum + 4 * tensor.shape.reduce((product, size) => product * size, 1), 0),
  );
  const heldBetweenSteps: number[] = [];
  await distill({
    ...request,
    ...{ teacher: models[0], student: models[1] },
    settings: { ...settings, steps: 2, adapterRank: 1 },
    onEvent: ({ type }) => type === 'progress' && heldBetweenSteps.push(memory().numBytes),
  });
  expect(heldBetweenSteps).toHaveLength(2);
  expect(Math.max(...heldBetweenSteps) - memory().numBytes).toBeLessThan(layerBytes[0]! + layerBytes[1]!);
});

it('trains adapters on latent keys', async () => {
  const student = createLatentModel(2, { seed: 4 });
  const adapted = await distill({ ...request, student, settings: { ...settings, adapterRank: 2 } });
  expect(adapted.best.heldOutDivergence).toBeLessThan(adapted.points[0]!.heldOutDivergence!);
  const { divergence } = await oracleLosses(trained(student, adapted), heldOut);
  expect(divergence).toBeCloseTo(adapted.best.heldOutDivergence!, 4);
});

describe('goes on from any checkpoint to the same result, to the last digit', () => {
  const everything = { adapterRank: 2, adapterDropout: 0.2, clipNorm: 0.5, averageDecay: 0.8, hiddenWeight: 0.1 };
  it.each([
    ['cpu', {}],
    ['cpu', { ...everything, piecesAtOnce: 1 }],
    ['wasm', everything],
  ] as const)('on %s with %j', async (backend, changes) => {
    const saved: DistillationCheckpoint[] = [];
    const usual = { ...request, backend, settings: { ...settings, steps: 5, checkpointEvery: 1, ...changes } };
    const whole = await distill({ ...usual, onCheckpoint: (checkpoint) => void saved.push(checkpoint) });
    // The last two are of parts of the way.
    expect(saved.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 5, 5]);
    for (const checkpoint of [1, 4, 5, 6].map((place) => saved[place]!)) {
      const resumed = await distill({ ...usual, checkpoint });
      expect(resumed.points).toEqual(whole.points);
      expect(numbers(resumed)).toEqual(numbers(whole));
    }
  });
});

it('loses nothing when it is stopped on the way back', async () => {
  const usual = { ...request, settings: { ...settings, steps: 5, checkpointEvery: 0 } };
  const whole = await distill(usual);
  // As often as it is asked whether to stop: at the end every look at a held-out window asks.
  let asked = 0;
  const countedSignal = (limit: number) => {
    asked = 0;
    const { signal } = new AbortController();
    return new Proxy(signal, {
      get(target, name) {
        if (name !== 'aborted') return Reflect.get(target, name, target);
        asked += 1;
        return asked > limit;
      },
    });
  };
  await distill({ ...usual, signal: countedSignal(Number.POSITIVE_INFINITY) });
  const total = asked;
  for (let before = 1; before <= 12; before++) {
    let last: DistillationCheckpoint | undefined;
    const onCheckpoint = (checkpoint: DistillationCheckpoint) => {
      last = checkpoint;
    };
    const running = distill({ ...usual, signal: countedSignal(total - before), onCheckpoint });
    await expect(running).rejects.toMatchObject({ code: 'aborted' });
    const resumed = await distill({ ...usual, checkpoint: last! });
    expect(resumed.points).toEqual(whole.points);
    expect(numbers(resumed)).toEqual(numbers(whole));
  }
});

it('loses no step when it is stopped', async () => {
  const usual = { ...request, settings: { ...settings, checkpointEvery: 0 } };
  const whole = await distill(usual);
  for (const stopAfter of [3, 4]) {
    const control = new AbortController();
    let last: DistillationCheckpoint | undefined;
    const running = distill({
      ...usual,
      signal: control.signal,
      onCheckpoint: (checkpoint) => {
        last = checkpoint;
      },
      onEvent: (event) => event.type === 'progress' && event.completed === stopAfter && control.abort(),
    });
    await expect(running).rejects.toMatchObject({ code: 'aborted' });
    expect(last!.step).toBe(stopAfter);
    const resumed = await distill({ ...usual, checkpoint: last! });
    expect(resumed.points).toEqual(whole.points);
    expect(numbers(resumed)).toEqual(numbers(whole));
  }
});

describe('other ways to train', () => {
  it('needs no original for the next tokens of the text', async () => {
    const { teacher: _, ...rest } = request;
    const { best, points } = await distill({ ...rest, settings: { ...settings, nextTokenShare: 1 } });
    expect(best.heldOutDivergence).toBeUndefined();
    expect(points[0]!.heldOutNextToken).toBeCloseTo((await oracleLosses(request.student, heldOut)).nextToken, 4);
    expect(best.heldOutLoss).toBe(best.heldOutNextToken);
  });

  it('asks the original once and then leaves it, with its likeliest tokens', async () => {
    const teacherStore = memoryTeacherStore();
    const few = { ...settings, topTokens: 20, temperature: 1.5 };
    const first = await distill({ ...request, teacherStore, settings: few });
    expect(first.best.heldOutDivergence).toBeLessThan(0.95 * first.points[0]!.heldOutDivergence!);
    const silent = { ...request.teacher, tensors: { ...request.teacher.tensors, readFloat32: () => Promise.reject() } };
    const second = await distill({ ...request, teacher: silent, teacherStore, settings: few });
    expect(numbers(second)).toEqual(numbers(first));
  });

  it('takes the running mean where it does better', async () => {
    const far = { ...settings, learningRate: 0.1, warmupSteps: 0, averageDecay: 0.7 };
    const result = await distill({ ...request, settings: far });
    const plain = await distill({ ...request, settings: { ...far, averageDecay: 0 } });
    const leastOf = (points: readonly DistillationPoint[]) =>
      points
        .filter(({ partOfTheWay }) => partOfTheWay === undefined)
        .reduce((least, point) => (point.heldOutLoss < least.heldOutLoss ? point : least));
    expect(leastOf(result.points).averaged).toBe(true);
    expect(leastOf(result.points).heldOutLoss).toBeLessThan(leastOf(plain.points).heldOutLoss);
  });

  it.each([{}, { adapterRank: 2 }])('goes back a part of the way where the steps went too far: %j', async (changes) => {
    const far = { ...settings, learningRate: 0.1, warmupSteps: 0, ...changes };
    const result = await distill({ ...request, settings: far });
    const last = result.points.filter(({ step }) => step === settings.steps);
    expect(last.map(({ partOfTheWay }) => partOfTheWay)).toEqual([undefined, 0.6, 0.3]);
    expect(result.best.partOfTheWay).toBe(0.6);
    const { divergence } = await oracleLosses(trained(request.student, result), heldOut);
    expect(result.best.heldOutDivergence).toBeCloseTo(divergence, 4);
  });

  it('counts only the predictions that a window marks', async () => {
    const counted = Uint8Array.from({ length: 16 }, (_, token) => Number(token >= 10 && token < 15));
    const masked = (list: Int32Array[]) => list.map((tokenIds) => ({ tokenIds, counted }));
    const answers = { windows: masked(windows.slice(0, 6)), heldOutWindows: masked(heldOut) };
    const few = { ...settings, steps: 1, nextTokenShare: 1 };
    const { points } = await distill({ ...request, ...answers, settings: few });
    let [sum, rows] = [0, 0];
    for (const window of heldOut) {
      const logits = await oracleLogits(request.student, window);
      for (let row = 10; row < 15; row++, rows++) {
        sum -= logSoftmax(logits.subarray(row * 50, (row + 1) * 50))[window[row + 1]!]!;
      }
    }
    expect(points[0]!.heldOutNextToken).toBeCloseTo(sum / rows, 4);
  });

  it('trains other projections where they are named', async () => {
    const targets = ['v_proj', 'down_proj'] as const;
    for (const adapterRank of [0, 2]) {
      const { tensors, adapter } = await distill({ ...request, settings: { ...settings, targets, adapterRank } });
      const names = new Set([...tensors.keys()].map((name) => /\.(\w+)\.(weight|bias)$/.exec(name)![1]));
      expect([...names].sort()).toEqual(['down_proj', 'v_proj']);
      expect(adapter && targetsOf(adapter)).toEqual(adapterRank > 0 ? [...targets] : undefined);
    }
  });

  it('starts from adapters of another run', async () => {
    const adapted = { ...settings, adapterRank: 2, adapterAlpha: 4 };
    const first = await distill({ ...request, settings: adapted });
    const second = await distill({ ...request, adapters: first.adapter!.layers, settings: { ...adapted, steps: 1 } });
    expect(second.points[0]!.heldOutLoss).toBeCloseTo(first.best.heldOutLoss, 6);
  });
});

it('takes the start where no step helps, and stops early', async () => {
  const result = await distill({ ...request, settings: { ...settings, steps: 20, learningRate: 50, patience: 2 } });
  expect(result.points.map(({ step }) => step)).toEqual([0, 2, 4, 4, 4]);
  expect(result.best.step).toBe(0);
  for (const [name, { data }] of result.tensors) expect(data).toEqual(await request.student.tensors.readFloat32(name));
});

it('keeps the start where steps lead to no numbers, and stops', async () => {
  const saved: DistillationCheckpoint[] = [];
  const usual = { ...request, settings: { ...settings, steps: 20, learningRate: 1e38, patience: 20 } };
  const result = await distill({ ...usual, onCheckpoint: (checkpoint) => void saved.push(checkpoint) });
  expect(result.points.some(({ heldOutLoss }) => Number.isNaN(heldOutLoss))).toBe(true);
  expect(result.points.every(({ step }) => step < 20)).toBe(true);
  expect(result.best.step).toBe(0);
  for (const [name, { data }] of result.tensors) expect(data).toEqual(await request.student.tensors.readFloat32(name));
  // As files hold them, where what is no number is null.
  const { points } = saved.at(-1)!;
  const read: DistillationCheckpoint = { ...saved.at(-1)!, points: JSON.parse(JSON.stringify(points)) };
  expect((await distill({ ...usual, checkpoint: read })).best.step).toBe(0);
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
  await refuse({ settings: { piecesPerStep: 4, piecesAtOnce: 3 } }, { data: { setting: 'piecesAtOnce' } });
  await refuse({ settings: { topTokens: 3, hiddenWeight: 1 } }, { data: { setting: 'hiddenWeight' } });
  await refuse({ settings: { targets: [] } }, { where: { argument: 'targets' } });
  await refuse({ teacher: undefined }, { where: { argument: 'teacher' } });
  const { adapter } = await distill({ ...request, settings: { ...settings, steps: 1, adapterRank: 2 } });
  const adapters = adapter!.layers;
  await refuse({ adapters, settings: { adapterRank: 3 } }, { where: { argument: 'adapter', layer: 0 } });
  const nothing = { lossSinceLook: 0, tensors: new Map() };
  await refuse({ checkpoint: { step: 4, points: [], ...nothing } }, { code: 'run-mismatch' });
  const [point] = (await distill({ ...request, settings: { ...settings, steps: 1 } })).points;
  await refuse({ checkpoint: { step: 0, points: [point!], ...nothing } }, { code: 'run-mismatch' });
});

describe('cutPieces', () => {
  const window = (length: number) => Int32Array.from({ length }, (_, token) => token);
  const cut = (length: number, longest: number) =>
    cutPieces([window(length)], longest, 'part').map(({ tokenIds }) => [...tokenIds]);

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
    expect(cutPieces([window(4), window(4)], 2, 'part').map(({ name }) => name)).toEqual([
      'part-0',
      'part-1',
      'part-2',
      'part-3',
    ]);
  });

  it('leaves windows that are short enough whole', () => {
    expect(cut(5, 5)).toEqual([[0, 1, 2, 3, 4]]);
    expect(cut(5, 256)).toEqual([[0, 1, 2, 3, 4]]);
  });
});
