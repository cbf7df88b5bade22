import { overlayModel } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createNormalRandom, type DenseTensor, layerTensors, type ModelSource, readTensor } from '@kvlr/core';
import { type DistillationCheckpoint, type DistillationRequest, distill } from '@kvlr/recovery';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, randomTokenIds, readGolden } from '@kvlr/testkit';
import { beforeAll, expect, it } from 'vitest';
import { onnxEngine } from './onnx-engine.ts';

beforeAll(() => prepareNodeRuntime());

/** The model with noise on the projections of attention, norms of queries and keys, and biases. */
async function spoil(model: ModelSource): Promise<ModelSource> {
  const normal = createNormalRandom(3);
  const entries = model.shape.layers.flatMap((_, layer) => layerTensors(model.shape, layer));
  const tensors = new Map<string, DenseTensor>();
  for (const entry of entries.filter(({ role }) => /^(query|key|value|output)(Weight|Bias|Norm)$/.test(role))) {
    const data = await readTensor(model, entry);
    const size = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
    const spoilt = data.map((value) => value + 0.2 * size * normal());
    tensors.set(model.tensorName(entry.role, entry.layer), { shape: [...entry.shape], data: spoilt });
  }
  return overlayModel(model, { shape: model.shape, tensors, id: 'spoilt' });
}

/** Trains a spoilt model on both engines, and expects equal courses. */
async function expectSameCourse(teacher: ModelSource, settings: DistillationRequest['settings'] = {}): Promise<void> {
  const windows = Array.from({ length: 4 }, (_, window) => randomTokenIds(14, teacher.shape.vocabSize, window));
  const request: DistillationRequest = {
    ...{ teacher, student: await spoil(teacher), backend: 'wasm', windows, heldOutWindows: windows },
    settings: { steps: 4, warmupSteps: 1, evaluateEvery: 2, learningRate: 0.01, ...settings },
  };
  const reference = await distill(request);
  const received = await distill({ ...request, native: onnxEngine.training });
  expect(reference.best.step).toBeGreaterThan(0);
  for (const [place, point] of received.points.entries()) {
    const expected = reference.points[place]!;
    for (const loss of ['heldOutLoss', 'heldOutNextToken', 'trainLoss'] as const) {
      const [found, wanted] = [point[loss] ?? 0, expected[loss] ?? 0];
      expect(Math.abs(found - wanted)).toBeLessThanOrEqual(1e-4 * Math.abs(wanted));
    }
  }
}

/** Gelus, ReLU, SiLU; norms of both kinds before, behind and between blocks, of queries and keys; caps, ALiBi, learned positions. */
const families = ['bloom', 'cohere', 'gemma2', 'gpt2', 'granite', 'mpt_alibi', 'olmo2', 'opt_postnorm', 'phi', 'qwen3'];

it.each(families)('trains %s in native code as on TensorFlow.js', async (family) => {
  const teacher = await openCheckpointDirectory(readGolden(family).directory);
  await expectSameCourse(teacher);
  await teacher.close();
});

it.each<[string, DistillationRequest['settings']]>([
  ['several pieces in a pass', { piecesPerStep: 2, pieceLength: 7 }],
  ['feed-forward matrices', { targets: ['gate_proj', 'up_proj', 'down_proj', 'o_proj'] }],
  ['gradients that are shortened, and weights that decay', { clipNorm: 1e-3, weightDecay: 0.5, piecesPerStep: 2 }],
  ['streams of the original', { hiddenWeight: 0.5 }],
  ['next tokens, warm distributions and a record', { nextTokenShare: 0.5, temperature: 2, topTokens: 20 }],
  ['adapters, which native code leaves to TensorFlow.js', { adapterRank: 4 }],
])('trains with %s', async (_, settings) => {
  await expectSameCourse(createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true }), settings);
});

it('goes on from a checkpoint to the same end', async () => {
  const teacher = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
  const windows = Array.from({ length: 4 }, (_, window) => randomTokenIds(14, teacher.shape.vocabSize, window));
  const request: DistillationRequest = {
    ...{ teacher, student: await spoil(teacher), backend: 'wasm', windows, heldOutWindows: windows },
    settings: { steps: 4, warmupSteps: 1, evaluateEvery: 4, checkpointEvery: 1, learningRate: 0.01 },
    native: onnxEngine.training,
  };
  const checkpoints: DistillationCheckpoint[] = [];
  const whole = await distill({ ...request, onCheckpoint: (checkpoint) => void checkpoints.push(checkpoint) });
  const between = checkpoints.find(({ step }) => step === 2)!;
  const resumed = await distill({ ...request, checkpoint: between });
  expect(resumed.points).toEqual(whole.points);
  for (const [name, { data }] of resumed.tensors) expect(data).toEqual(whole.tensors.get(name)!.data);
});
