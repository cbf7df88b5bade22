import { overlayModel } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { type KvlrEvent, layerTensors, type ModelSource, readTensor } from '@kvlr/core';
import { DecoderInParts } from '@kvlr/runtime';
import { createTinyModel, differenceByRange, randomTokenIds, readGolden } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { type ReconstructionRequest, reconstructBlocks } from './reconstruct-blocks.ts';
import { applyReconstruction, type ReconstructedLayer } from './reconstructed-layer.ts';
import type { LoadLayer } from './refit-blocks.ts';

const windows = Array.from({ length: 8 }, (_, index) => randomTokenIds(24, 50, index));
const loadLayer: LoadLayer = async (model, layer) =>
  (await DecoderInParts.open(model, { backend: 'wasm' })).loadLayer(layer);

async function requestOf(teacher: ModelSource, changes: Partial<ReconstructionRequest> = {}) {
  const student = await meanPooledStudent(teacher, 2);
  const windowsOfRequest = { windows: windows.slice(0, 6), heldOutWindows: windows.slice(6) };
  return { teacher, student, ...windowsOfRequest, backend: 'wasm', preset: 'refit', loadLayer, ...changes } as const;
}

/** All numbers of a student's attention, with what was reconstructed. */
async function attentionOf(student: ModelSource, layers: readonly ReconstructedLayer[]): Promise<number[]> {
  const model = applyReconstruction(student, layers);
  const entries = layers.flatMap(({ layer }) => layerTensors(model.shape, layer));
  const values = await Promise.all(
    entries.filter(({ part }) => part === 'attention').map((entry) => readTensor(model, entry)),
  );
  return values.flatMap((each) => [...each]);
}

const plain = createTinyModel({ seed: 9, attentionBias: true });
const { blocks } = plain.shape;
const decoders: [string, ModelSource][] = [
  ['sequential blocks', plain],
  ['parallel blocks', { ...plain, shape: { ...plain.shape, blocks: { ...blocks, parallel: true } } }],
  ['a residual factor', { ...plain, shape: { ...plain.shape, blocks: { ...blocks, residualScale: 0.3 } } }],
];

it.each(decoders)('finds on loaded layers what it finds on the backend: %s', async (_, teacher) => {
  const request = await requestOf(teacher);
  const reference = await reconstructBlocks({ ...request, loadLayer: undefined });
  const { layers, history } = await reconstructBlocks(request);
  expect(layers.map(({ tensors }) => [...tensors.keys()])).toEqual(
    layers.map((_, layer) => [teacher.tensorName('outputWeight', layer)]),
  );
  const [received, expected] = [layers, reference.layers].map((each) => attentionOf(request.student, each));
  expect(differenceByRange(await received!, await expected!)).toBeLessThan(1e-4);
  for (const [layer, { kept, initialError, finalError, points }] of history.entries()) {
    const before = reference.history[layer]!;
    expect([kept, points.length]).toEqual([before.kept, before.points.length]);
    expect(Math.abs(initialError - before.initialError)).toBeLessThan(1e-5);
    expect(Math.abs(finalError - before.finalError)).toBeLessThan(1e-5);
    expect(finalError).toBeLessThan(initialError);
  }
});

it('takes several windows at once to the same numbers, and frees every layer', async () => {
  let open = 0;
  const counted: LoadLayer = async (model, layer) => {
    const loaded = await loadLayer(model, layer);
    open += 1;
    const dispose = () => {
      open -= 1;
      loaded.dispose();
    };
    return { ...loaded, concurrency: 3, dispose };
  };
  const request = await requestOf(plain);
  const alone = await reconstructBlocks(request);
  expect(await reconstructBlocks({ ...request, loadLayer: counted })).toEqual(alone);
  expect(open).toBe(0);
});

it('resumes after a layer with the same result as without a break', async () => {
  const saved: ReconstructedLayer[] = [];
  const request = await requestOf(plain);
  const whole = await reconstructBlocks({ ...request, onLayerDone: (layer) => void saved.push(layer) });
  expect(saved.map(({ layer }) => layer)).toEqual([0, 1]);
  expect(await reconstructBlocks({ ...request, completedLayers: saved.slice(0, 1) })).toEqual(whole);
});

it('keeps the closed form of a layer that attends to nothing, and says so', async () => {
  const name = plain.tensorName('valueWeight', 1);
  const biasName = plain.tensorName('valueBias', 1);
  const zeros = (tensor: string) => {
    const { shape, data } = plain.dense.get(tensor)!;
    return { shape, data: new Float32Array(data.length) };
  };
  const tensors = new Map([name, biasName].map((each) => [each, zeros(each)]));
  const broken = overlayModel(plain, { shape: plain.shape, tensors, id: 'broken' });
  const events: KvlrEvent[] = [];
  const { history, layers } = await reconstructBlocks(
    await requestOf(broken, { onEvent: (event) => events.push(event) }),
  );
  expect(events.filter(({ type }) => type === 'warning')).toMatchObject([
    { message: 'Layer 2 keeps its closed form: what its heads give is zero, or too small or too large to solve for.' },
  ]);
  expect(history.map(({ kept }) => kept)).toEqual(['refit', 'closed form']);
  expect(layers[1]!.tensors.size).toBe(0);
});

const unasked: LoadLayer = async () => {
  throw new Error('A layer was loaded.');
};

it('leaves steps to the backend', async () => {
  const request = await requestOf(plain, { loadLayer: unasked, settings: { steps: 1 } });
  expect((await reconstructBlocks(request)).history.map(({ points }) => points.at(-1)!.step)).toEqual([1, 1]);
});

it.each(['gemma2', 'olmo2', 'opt_postnorm'])(
  'leaves %s, which has norms behind its blocks, to the backend',
  async (name) => {
    const teacher = await openCheckpointDirectory(readGolden(name).directory);
    const request = { ...(await requestOf(plain)), teacher, student: teacher, loadLayer: unasked };
    const { history } = await reconstructBlocks(request);
    expect(history.map(({ kept }) => kept)).toEqual(history.map(() => 'closed form'));
    await teacher.close();
  },
);

it('stops on the signal', async () => {
  const control = new AbortController();
  const request = await requestOf(plain, { signal: control.signal, onLayerDone: () => control.abort() });
  await expect(reconstructBlocks(request)).rejects.toMatchObject({ code: 'aborted' });
});
