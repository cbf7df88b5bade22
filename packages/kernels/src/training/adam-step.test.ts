import { createNormalRandom } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, tensor } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { adamNumbers, adamStep } from './adam-step.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];

it.skipIf(skip).each([
  ['new tensors', false],
  ['in place', true],
])('takes the step of the formulas in Float64: %s', async (_, inPlace) => {
  await useBackend('webgpu');
  const held = memory().numTensors;
  const normal = createNormalRandom(1);
  const shape = [37, 21];
  const numbers = (of: (value: number) => number) => Float32Array.from({ length: 37 * 21 }, () => of(normal()));
  const [value, gradient, mean, square] = [numbers(Number), numbers(Number), numbers(Number), numbers((x) => x * x)];
  const inputs = {
    ...{ value: tensor(value!, shape), gradient: tensor(gradient!, shape) },
    ...{ mean: tensor(mean!, shape), square: tensor(square!, shape) },
    numbers: tensor([9, 9, 9, ...adamNumbers({ rate: 0.02, squareCorrection: 0.3, kept: 0.97 })], [2, 3]),
  };
  await withoutGpuErrors(async () => {
    const next = adamStep(inputs, { row: 1, meanDecay: 0.9, squareDecay: 0.99, epsilon: 1e-12, inPlace });
    const nextMean = mean!.map((m, i) => 0.9 * m + 0.1 * gradient![i]!);
    const nextSquare = square!.map((s, i) => 0.99 * s + 0.01 * gradient![i]! ** 2);
    const expected = {
      mean: nextMean,
      square: nextSquare,
      value: value!.map((v, i) => 0.97 * v - (0.02 * nextMean[i]!) / (Math.sqrt(nextSquare[i]! / 0.3) + 1e-12)),
    };
    for (const name of ['value', 'mean', 'square'] as const) {
      expect(next[name].shape).toEqual(shape);
      expect(differenceByRange(await next[name].data<'float32'>(), expected[name])).toBeLessThan(1e-6);
      next[name].dispose();
      const isWritten = (await inputs[name].data<'float32'>())[5] !== { value, mean, square }[name]![5];
      expect(isWritten).toBe(inPlace);
    }
  });
  for (const each of Object.values(inputs)) each.dispose();
  expect(memory().numTensors).toBe(held);
});
