import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { type Activation, createRandom, type ModelSource, type TensorRole } from '@kvlr/core';
import { createTinyModel, readGolden } from '@kvlr/testkit';
import {
  add,
  grads,
  memory,
  mul,
  type Scalar,
  sum,
  type Tensor,
  type Tensor2D,
  tensor,
  tidy,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { attentionBlock } from './attention-block.ts';
import { decoderLayer } from './decoder-layer.ts';
import { createSequenceContext } from './sequence-context.ts';
import { disposeTensors, uploadLayer } from './weights.ts';

const stock = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true, mlpBias: true });
const models = { stock, latent: createLatentModel(2), rebuilt: createRebuiltModel(2) };
const activations: Activation[] = ['silu', 'gelu', 'gelu_pytorch_tanh'];
const batch = 2;
const tokens = 5;

/** The gradient of a weighted sum of the layer's output along a random direction of every weight, and its finite difference. */
async function slopes(source: ModelSource, activation: Activation) {
  const shape = { ...source.shape, feedForward: { ...source.shape.feedForward, activation } };
  const layer = await uploadLayer(source, 0);
  const context = createSequenceContext({ shape, batch, tokens });
  const random = createRandom(3);
  const randomLike = (dimensions: number[]): Tensor => {
    const count = dimensions.reduce((product, size) => product * size, 1);
    return tensor(
      Float32Array.from({ length: count }, () => random() - 0.5),
      dimensions,
    );
  };
  const stream = randomLike([batch * tokens, shape.hiddenSize]) as Tensor2D;
  const reading = randomLike([batch * tokens, shape.hiddenSize]);
  const names = Object.keys(layer) as TensorRole[];
  const points = [stream, ...names.map((name) => layer[name]!)];
  const directions = points.map((value) => randomLike(value.shape));
  const loss = (...values: Tensor[]): Scalar => {
    const weights = Object.fromEntries(names.map((name, index) => [name, values[index + 1]!]));
    return sum(mul(decoderLayer(values[0] as Tensor2D, weights, { shape, layer: 0, context }).after, reading));
  };
  const along = tidy(() => {
    const gradients = grads(loss)(points);
    return gradients.map((gradient, index) => sum(mul(gradient, directions[index]!)));
  });
  const analytic = [];
  const numeric = [];
  for (const [index, slope] of along.entries()) {
    analytic.push((await slope.data())[0]!);
    const step = 3e-3;
    const moved = (shift: number) =>
      tidy(() => loss(...points.map((value, i) => (i === index ? add(value, mul(directions[i]!, shift)) : value))));
    const [up, down] = [moved(step), moved(-step)];
    numeric.push(((await up.data())[0]! - (await down.data())[0]!) / (2 * step));
    for (const scalar of [slope, up, down]) scalar.dispose();
  }
  for (const value of [stream, reading, ...directions]) value.dispose();
  context.dispose();
  disposeTensors(layer);
  return { analytic, numeric };
}

describe.each(await testedBackends())('blocks on $backend', ({ backend, skip }) => {
  beforeAll(async () => {
    if (!skip) await selectBackend({ backend });
  });

  const cases = Object.entries(models).flatMap(([name, source]) =>
    activations.map((activation) => ({ name, source, activation })),
  );
  // One pass over the shaders is enough on an emulated GPU.
  const tested = backend === 'webgpu' ? cases.slice(0, 1) : cases;
  it.skipIf(skip).each(tested)(
    '$name keys with $activation are differentiable in every weight',
    async ({ source, activation }) => {
      const held = memory().numTensors;
      const { analytic, numeric } = await slopes(source, activation);
      const scale = Math.max(...numeric.map(Math.abs));
      analytic.forEach((slope, index) => {
        expect(Math.abs(slope - numeric[index]!)).toBeLessThan(1e-3 * scale);
      });
      expect(memory().numTensors).toBe(held);
    },
  );
});

describe('blocks of other families', () => {
  // Norms of every kind before and behind blocks, parallel ones, caps, q/k norms, partial and interleaved RoPE, ALiBi, factors.
  const names = [
    'bloom',
    'gemma2',
    'gpt_neox_parallel',
    'gptj',
    'granite',
    'olmo2',
    'opt_postnorm',
    'qwen3',
    'stablelm_parallel',
  ];

  it.each(names)('%s: are differentiable in every weight', async (name) => {
    await selectBackend({ backend: 'wasm' });
    const source = await openCheckpointDirectory(readGolden(name).directory);
    // relu has edges, over which differences are no slopes; its gradient is tested by itself.
    const { activation } = source.shape.feedForward;
    const { analytic, numeric } = await slopes(source, activation === 'relu' ? 'gelu' : activation);
    const scale = Math.max(...numeric.map(Math.abs));
    analytic.forEach((slope, index) => {
      expect(Math.abs(slope - numeric[index]!)).toBeLessThan(2e-3 * scale);
    });
    await source.close();
  });
});

describe('a batch of windows', () => {
  it.each(Object.entries(models))('computes what each window computes alone: %s keys', async (_, source) => {
    await selectBackend({ backend: 'wasm' });
    const layer = await uploadLayer(source, 0);
    const { shape } = source;
    const random = createRandom(5);
    const rows = Float32Array.from({ length: batch * tokens * shape.hiddenSize }, () => random() - 0.5);
    const run = async (values: Float32Array, windows: number): Promise<Float32Array> => {
      const context = createSequenceContext({ shape, batch: windows, tokens });
      const output = tidy(() => {
        const stream = tensor(values, [windows * tokens, shape.hiddenSize]) as Tensor2D;
        return attentionBlock(stream, layer, { shape, layer: 0, context }).blockOutput;
      });
      const result = (await output.data()) as Float32Array;
      output.dispose();
      context.dispose();
      return result;
    };
    const half = rows.length / 2;
    const apart = [...(await run(rows.slice(0, half), 1)), ...(await run(rows.slice(half), 1))];
    const together = await run(rows, 2);
    apart.forEach((value, index) => {
      expect(together[index]).toBeCloseTo(value, 5);
    });
    disposeTensors(layer);
  });
});
