import { createNormalRandom } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { backend as activeBackend, memory, type Tensor, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { kernelCounters } from '../fused-kernel.ts';
import { dequantised, oracleNorm, oracleProduct } from '../testing/oracles.ts';
import { type TestedBackend, testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import type { WeightFormat } from '../weights/pack-weights.ts';
import { PackedMatrix } from '../weights/packed-matrix.ts';
import { gatedFeedForward, normProject, projectAdd } from './projection.ts';
import type { Activation } from './projection-host.ts';
import { productFunctions } from './projection-wasm.ts';

/** Rounding, by the range of the results; wasm multiplies whole numbers with activations of 16 bits. */
function tolerance(backend: TestedBackend, format: WeightFormat): number {
  return backend === 'wasm' && format.startsWith('int') ? 1e-4 : 1e-5;
}

type Shape = [tokens: number, rows: number, columns: number, shards: number];

/**
 * Tokens for both programs of WebGPU; columns that fill whole groups, whole vectors, or neither; rows for many workgroups of the greatest
 * size, and for four rows of 16 lanes; columns that do not fit into workgroup memory at once.
 */
const shapes = {
  one: [1, 19, 64, 1],
  three: [3, 70, 40, 2],
  sixteen: [16, 9, 36, 1],
  five: [5, 13, 27, 1],
  seventeen: [17, 70, 96, 1],
  forty: [40, 33, 45, 1],
  tall: [2, 17000, 36, 1],
  wide: [16, 9, 260, 1],
  high: [8, 10_600, 260, 1],
  'tall and forty': [40, 8500, 20, 1],
  'tall and many': [130, 8500, 20, 1],
} satisfies Record<string, Shape>;

type ShapeName = keyof typeof shapes;

/** Every format with every shape; on WebGPU those named: each is a shader, and a software GPU takes seconds to build it. */
function casesFor(backend: TestedBackend, onGpu: Partial<Record<WeightFormat, ShapeName[]>>) {
  return (Object.keys(onGpu) as WeightFormat[]).flatMap((format) => {
    const names = backend === 'webgpu' ? onGpu[format]! : (Object.keys(shapes) as ShapeName[]);
    return names.map((name) => ({ format, name }));
  });
}

/** Dispatches of a product on WebGPU; none elsewhere. */
function dispatchesOf(backend: TestedBackend, shards: number): number {
  return backend === 'webgpu' ? shards : 0;
}

/** Random numbers that are exact in single precision. */
function randomValues(count: number, seed: number, size = 1): Float32Array {
  const normal = createNormalRandom(seed);
  return Float32Array.from({ length: count }, () => size * normal());
}

function inShards(
  values: Float32Array,
  rows: number,
  columns: number,
  format: WeightFormat,
  count: number,
): PackedMatrix {
  const whole = new PackedMatrix({ format, rows, columns });
  const bytesOfRow = (whole.shards[0]!.words.size * 4) / rows;
  whole.dispose();
  const matrix = new PackedMatrix({ format, rows, columns, maxShardBytes: Math.ceil(rows / count) * bytesOfRow });
  expect(matrix.shards.length).toBe(count);
  matrix.write(0, values.subarray(0, 4 * columns));
  matrix.write(4, values.subarray(4 * columns));
  return matrix;
}

const silu = (value: number) => value / (1 + Math.exp(-value));

for (const { backend, skip } of await testedBackends()) {
  describe.skipIf(skip)(`on ${backend}${skip ? `: ${skip}` : ''}`, () => {
    it.each(
      casesFor(backend, {
        f32: ['five', 'seventeen', 'tall'],
        f16: ['five', 'seventeen', 'wide', 'tall and many'],
        int8: ['five', 'seventeen', 'tall', 'wide', 'tall and forty'],
        int4: ['three', 'sixteen', 'forty', 'tall', 'wide', 'high'],
      }),
    )(
      '$format, $name tokens: norm, projection and bias agree with Float64 on the unpacked weights',
      async ({ format, name }) => {
        await useBackend(backend);
        const held = memory().numTensors;
        const [tokens, rows, columns, shards] = shapes[name];
        const x = randomValues(tokens * columns, 1);
        const weight = randomValues(columns, 2);
        const values = randomValues(rows * columns, 3, 0.2);
        const bias = randomValues(rows, 4);
        const matrix = inShards(values, rows, columns, format, shards);
        const tensors = { x: tensor2d(x, [tokens, columns]), weight: tensor1d(weight), bias: tensor1d(bias) };
        kernelCounters.reset();
        const received = await withoutGpuErrors(async () => {
          const result = normProject(tensors.x, { weight: tensors.weight, epsilon: 1e-5 }, matrix, tensors.bias);
          expect(result.shape).toEqual([tokens, rows]);
          return dataAndDispose(result);
        });
        expect(kernelCounters.byKernel()).toEqual({
          KvlrNormProject: { calls: 1, dispatches: dispatchesOf(backend, shards), bytesRead: matrix.byteLength },
        });
        const product = oracleProduct(oracleNorm(x, weight, 1e-5), dequantised(values, rows, columns, format), columns);
        const expected = product.map((value, place) => value + bias[place % rows]!);
        expect(differenceByRange(received, expected)).toBeLessThan(tolerance(backend, format));
        for (const each of [...Object.values(tensors), matrix]) each.dispose();
        expect(memory().numTensors).toBe(held);
      },
    );

    it.each(casesFor(backend, { f32: ['five'], f16: ['seventeen'] }))(
      '$format, $name tokens: projection, bias and residual agree',
      async ({ format, name }) => {
        await useBackend(backend);
        const [tokens, rows, columns] = shapes[name];
        const x = randomValues(tokens * columns, 1);
        const values = randomValues(rows * columns, 3, 0.2);
        const bias = randomValues(rows, 4);
        const residual = randomValues(tokens * rows, 5);
        const matrix = inShards(values, rows, columns, format, 1);
        const tensors = [tensor2d(x, [tokens, columns]), tensor2d(residual, [tokens, rows]), tensor1d(bias)] as const;
        kernelCounters.reset();
        const received = await withoutGpuErrors(() =>
          dataAndDispose(projectAdd(tensors[0], matrix, tensors[1], tensors[2])),
        );
        expect(kernelCounters.total().dispatches).toBe(dispatchesOf(backend, 1));
        const product = oracleProduct(x, dequantised(values, rows, columns, format), columns);
        const expected = product.map((value, place) => value + bias[place % rows]! + residual[place]!);
        expect(differenceByRange(received, expected)).toBeLessThan(tolerance(backend, format));
        for (const each of [...tensors, matrix]) each.dispose();
      },
    );

    it.each(
      casesFor(backend, { int8: ['three', 'tall', 'high'], int4: ['seventeen', 'tall and forty', 'tall and many'] }),
    )('$format, $name tokens: norm, gate, up and activation agree', async ({ format, name }) => {
      await useBackend(backend);
      const [tokens, rows, columns] = shapes[name];
      const x = randomValues(tokens * columns, 1);
      const weight = randomValues(columns, 2);
      const gateValues = randomValues(rows * columns, 3, 0.2);
      const upValues = randomValues(rows * columns, 4, 0.2);
      const gate = inShards(gateValues, rows, columns, format, 1);
      const up = inShards(upValues, rows, columns, format, 1);
      const tensors = { x: tensor2d(x, [tokens, columns]), weight: tensor1d(weight) };
      kernelCounters.reset();
      const received = await withoutGpuErrors(() => {
        const norm = { weight: tensors.weight, epsilon: 1e-6 };
        return dataAndDispose(gatedFeedForward(tensors.x, norm, { gate, up, activation: 'silu' }));
      });
      expect(kernelCounters.total().dispatches).toBe(dispatchesOf(backend, 1));
      const normed = oracleNorm(x, weight, 1e-6);
      const product = (values: Float32Array) =>
        oracleProduct(normed, dequantised(values, rows, columns, format), columns);
      const upProduct = product(upValues);
      const expected = product(gateValues).map((value, place) => silu(value) * upProduct[place]!);
      expect(differenceByRange(received, expected)).toBeLessThan(tolerance(backend, format));
      for (const each of [...Object.values(tensors), gate, up]) each.dispose();
    });

    // Values of scipy.special: x Phi(x), and with the tanh approximation of Hendrycks and Gimpel.
    it.each<[Activation, number[]]>([
      ['silu', [-0.0004539787, -0.2689414214, 0, 0.3112296656, 2.8577223804, 30]],
      ['gelu', [0, -0.1586552539, 0, 0.3457312307, 2.9959503059, 30]],
      ['gelu-tanh', [0, -0.1588080094, 0, 0.3457140127, 2.9963627, 30]],
    ])('%s has the known values', async (activation, expected) => {
      await useBackend(backend);
      const points = [-10, -1, 0, 0.5, 3, 30];
      // A norm of one column gives +-1 (or 0); the points come from the rows of the gate.
      const gate = inShards(Float32Array.from(points), points.length, 1, 'f32', 1);
      const up = inShards(new Float32Array(points.length).fill(1), points.length, 1, 'f32', 1);
      const x = tensor2d([2], [1, 1]);
      const weight = tensor1d([1]);
      const received = await withoutGpuErrors(() =>
        dataAndDispose(gatedFeedForward(x, { weight, epsilon: 0 }, { gate, up, activation })),
      );
      received.forEach((value, place) => {
        expect(Math.abs(value - expected[place]!)).toBeLessThan(1e-5);
      });
      for (const each of [x, weight, gate, up]) each.dispose();
    });
  });
}

it('assembles a valid module, so that the wasm backend multiplies with vectors', async () => {
  await useBackend('wasm');
  expect(Object.keys(productFunctions(activeBackend() as BackendWasm) ?? {})).toContain('block_pair');
});

async function dataAndDispose(tensor: Tensor): Promise<Float32Array> {
  const values = await tensor.data<'float32'>();
  tensor.dispose();
  return values;
}
