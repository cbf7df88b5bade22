import { selectBackend } from '@kvlr/runtime';
import { expectClose } from '@kvlr/testkit';
import { memory, tensor1d, variable } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { AdamOptimizer } from './adam-optimizer.ts';

describe.each(await testedBackends())('AdamOptimizer on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('takes the steps of the published algorithm, scaled per parameter', async () => {
    await selectBackend({ backend });
    const before = memory().numTensors;
    const start = [0.5, -2, 3];
    const gradientsOfSteps = [
      [1, -0.1, 0],
      [-2, 0.3, 0],
      [0.5, 0.2, 1e-3],
    ];
    const trained = variable(tensor1d(start), true);
    const optimizer = new AdamOptimizer([{ variable: trained, stepScale: 0.5 }], { meanDecay: 0.9, squareDecay: 0.99 });
    gradientsOfSteps.forEach((gradient, index) => {
      const given = tensor1d(gradient);
      optimizer.apply({ [trained.name]: given }, 0.1 * (index + 1));
      given.dispose();
    });

    const expected = start.map((value, place) => {
      let [current, mean, square] = [value, 0, 0];
      gradientsOfSteps.forEach((gradient, index) => {
        const time = index + 1;
        mean = 0.9 * mean + 0.1 * gradient[place]!;
        square = 0.99 * square + 0.01 * gradient[place]! ** 2;
        const corrected = mean / (1 - 0.9 ** time) / (Math.sqrt(square / (1 - 0.99 ** time)) + 1e-12);
        current -= 0.5 * 0.1 * time * corrected;
      });
      return current;
    });
    expectClose(await trained.data(), expected, 1e-5);
    optimizer.dispose();
    trained.dispose();
    // tensor1d(start) itself is still held by this test.
    expect(memory().numTensors).toBe(before + 1);
  });
});

it('shortens gradients whose norm over all parameters is too great, and no others', async () => {
  await selectBackend({ backend: 'cpu' });
  const meanAfter = async (clipNorm: number): Promise<number[]> => {
    const parameters = [variable(tensor1d([1])), variable(tensor1d([1, 1]))];
    const optimizer = new AdamOptimizer(
      parameters.map((each) => ({ variable: each, stepScale: 1 })),
      { clipNorm },
    );
    // Of norm 13.
    optimizer.apply({ [parameters[0]!.name]: tensor1d([12]), [parameters[1]!.name]: tensor1d([3, -4]) }, 0.1);
    const means = await Promise.all(optimizer.moments().map(({ mean }) => mean.data()));
    return means.flatMap((mean) => [...mean]);
  };
  expectClose(await meanAfter(0), [1.2, 0.3, -0.4], 1e-6);
  expectClose(await meanAfter(20), [1.2, 0.3, -0.4], 1e-6);
  expectClose(await meanAfter(6.5), [0.6, 0.15, -0.2], 1e-6);
});
