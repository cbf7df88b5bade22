import { differenceByRange } from '@kvlr/testkit';
import { memory, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { rmsNorm, rmsNormGradient } from './rms-norm.ts';
import { siluGate, siluGateGradients } from './silu-gate.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];
const values = (count: number, factor: number) =>
  Float32Array.from({ length: count }, (_, n) => 3 * Math.sin(factor * n * n));

async function expectNumbers(received: Tensor, expected: ArrayLike<number>): Promise<void> {
  expect(differenceByRange(await received.data<'float32'>(), Float64Array.from(expected))).toBeLessThan(1e-6);
  received.dispose();
}

it.skipIf(skip).each([
  [7, 24],
  [3, 200],
])('norms %d rows of %d numbers as the formulas in Float64', async (rows, width) => {
  await useBackend('webgpu');
  const held = memory().numTensors;
  const [x, gradient, scale] = [values(rows * width, 0.7), values(rows * width, 1.3), values(width, 0.4)];
  const epsilon = 1e-3;
  const [normed, toX] = [new Float64Array(x.length), new Float64Array(x.length)];
  for (let row = 0; row < rows; row++) {
    const at = (column: number) => row * width + column;
    const arriving = (column: number) => gradient[at(column)]! * scale[column]!;
    let [squares, products] = [0, 0];
    for (let column = 0; column < width; column++) {
      squares += x[at(column)]! ** 2 / width;
      products += (x[at(column)]! * arriving(column)) / width;
    }
    const root = 1 / Math.sqrt(squares + epsilon);
    for (let column = 0; column < width; column++) {
      normed[at(column)] = x[at(column)]! * root * scale[column]!;
      toX[at(column)] = root * arriving(column) - root ** 3 * x[at(column)]! * products;
    }
  }
  await withoutGpuErrors(async () => {
    const [tensorOfX, arriving, factors] = [tensor(x, [rows, width]), tensor(gradient, [rows, width]), tensor(scale)];
    await expectNumbers(rmsNorm(tensorOfX, factors, epsilon), normed);
    await expectNumbers(rmsNormGradient(arriving, tensorOfX, factors, epsilon), toX);
    for (const each of [tensorOfX, arriving, factors]) each.dispose();
  });
  expect(memory().numTensors).toBe(held);
});

it.skipIf(skip)('gates as the formulas in Float64', async () => {
  await useBackend('webgpu');
  const held = memory().numTensors;
  const [gate, up, gradient] = [values(777, 0.7), values(777, 1.3), values(777, 0.4)];
  gate.set([100, -100, 0]);
  const share = (a: number) => 1 / (1 + Math.exp(-a));
  await withoutGpuErrors(async () => {
    const tensors = [gate, up, gradient].map((each) => tensor(each, [37, 21])) as [Tensor, Tensor, Tensor];
    await expectNumbers(
      siluGate(tensors[0], tensors[1]),
      gate.map((a, i) => a * share(a) * up[i]!),
    );
    const [toGate, toUp] = siluGateGradients(tensors[2], tensors[0], tensors[1]);
    await expectNumbers(
      toGate,
      gate.map((a, i) => gradient[i]! * up[i]! * (share(a) + a * share(a) * (1 - share(a)))),
    );
    await expectNumbers(
      toUp,
      gate.map((a, i) => gradient[i]! * a * share(a)),
    );
    for (const each of tensors) each.dispose();
  });
  expect(memory().numTensors).toBe(held);
});
