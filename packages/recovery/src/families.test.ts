import { overlayModel } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createNormalRandom, type DenseTensor, decoderTensors, type ModelSource } from '@kvlr/core';
import { memoryTensorSource, randomTokenIds, readGolden } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { distill } from './distillation/distill.ts';
import { reconstructBlocks } from './reconstruction/reconstruct-blocks.ts';

/** Parallel blocks, norms behind blocks and behind the stream, caps, q/k norms, ALiBi, learned positions, factors. */
const names = ['bloom', 'cohere', 'gemma2', 'gpt2', 'granite', 'olmo2', 'opt_postnorm', 'phi', 'qwen3'];

/** A golden checkpoint in memory, a tensor a role. */
async function readTeacher(name: string): Promise<ModelSource & { dense: Map<string, DenseTensor> }> {
  const checkpoint = await openCheckpointDirectory(readGolden(name).directory);
  const { shape } = checkpoint;
  const tensorName: ModelSource['tensorName'] = (role, layer) => `${layer ?? 'global'}.${role}`;
  const dense = new Map<string, DenseTensor>();
  for (const { role, layer, shape: size } of decoderTensors(shape)) {
    const data = await checkpoint.tensors.readFloat32(checkpoint.tensorName(role, layer));
    dense.set(tensorName(role, layer), { shape: size, data });
  }
  await checkpoint.close();
  return { id: name, shape, dense, tensors: memoryTensorSource(dense), tensorName };
}

/** The teacher with noise on the projections of attention. */
function spoil(teacher: ModelSource & { dense: Map<string, DenseTensor> }): ModelSource {
  const normal = createNormalRandom(3);
  const tensors = new Map<string, DenseTensor>();
  for (const [name, { shape, data }] of teacher.dense) {
    if (!/\.(query|key|value|output)Weight$/.test(name)) continue;
    const size = Math.sqrt(Array.from(data).reduce((sum, value) => sum + value * value, 0) / data.length);
    tensors.set(name, { shape, data: Float32Array.from(data, (value) => value + 0.3 * size * normal()) });
  }
  return overlayModel(teacher, { shape: teacher.shape, tensors, id: `${teacher.id}-spoilt` });
}

it.each(names)('brings a spoilt %s nearer, block by block and as a whole', async (name) => {
  const teacher = await readTeacher(name);
  const windows = Array.from({ length: 4 }, (_, index) => randomTokenIds(20, teacher.shape.vocabSize, index));
  const request = {
    ...{ teacher, student: spoil(teacher), backend: 'wasm' as const },
    // Random tokens have nothing in common to be learnt: progress shows on those that are trained on.
    ...{ windows, heldOutWindows: windows },
  };
  const { history } = await reconstructBlocks({
    ...request,
    settings: { steps: 20, evaluateEvery: 10, warmupSteps: 2 },
  });
  for (const { initialError, finalError } of history) expect(finalError).toBeLessThan(0.9 * initialError);
  const settings = { steps: 20, warmupSteps: 2, evaluateEvery: 10, learningRate: 0.02 };
  const { points, best } = await distill({ ...request, settings });
  expect(best.heldOutDivergence).toBeLessThan(0.9 * points[0]!.heldOutDivergence!);
});
