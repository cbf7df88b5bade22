import { createNormalRandom } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { plantedRequest } from '../../test-support/planted-request.ts';
import { subspaceAffinityCost } from './subspace-affinity-cost.ts';

/** Heads of width 2 in a space of 4 inputs, each spanned by two axes, in a random basis of its own. */
function weightsOfAxes(axes: readonly (readonly [number, number])[]): Float64Array {
  const normal = createNormalRandom(3);
  return Float64Array.from(
    axes.flatMap(([first, second]) =>
      [0, 1].flatMap(() => {
        const row = [0, 0, 0, 0];
        row[first] = normal();
        row[second] = normal();
        return row;
      }),
    ),
  );
}

describe('subspaceAffinityCost', () => {
  const { request, planted } = plantedRequest({ heads: 4, groups: 2, headDim: 2, noise: 0, seed: 1 });

  it('measures principal angles between row spaces, whatever basis they are written in', () => {
    const key = weightsOfAxes([
      [0, 1],
      [0, 1],
      [2, 3],
      [1, 2],
    ]);
    const cost = subspaceAffinityCost({
      ...request,
      statistics: undefined,
      weights: { ...request.weights, key, value: key },
    });
    expect(cost([0, 1])).toBeCloseTo(0, 10);
    expect(cost([0, 2])).toBeCloseTo(2, 10);
    expect(cost([0, 3])).toBeCloseTo(1, 10);
  });

  it('sees in statistics which heads carry the same signal', () => {
    const cost = subspaceAffinityCost({ ...request, weights: undefined });
    for (const group of planted) expect(cost(group)).toBeLessThan(1e-8);
    expect(cost([planted[0]![0]!, planted[1]![0]!])).toBeGreaterThan(0.5);
  });

  it('needs statistics or weights', () => {
    expect(() => subspaceAffinityCost({ ...request, statistics: undefined, weights: undefined })).toThrow(
      /subspace-affinity \(layer 0\): expected the layer's attention weights/,
    );
  });
});
