import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { plantedLayer } from '../testing/planted-layer.ts';
import { subspaceAffinity, weightSimilarity } from './similarity.ts';

const { layer, planted } = plantedLayer({ numHeads: 4, groups: 2, headDim: 2, noise: 0, seed: 1 });

describe('weightSimilarity', () => {
  it('is 0 for equal projections whatever their scale, and 1 a side for orthogonal ones', () => {
    const key = Float64Array.of(1, 0, 0, 1, /**/ 3, 0, 0, 3, /**/ 0, 1, 1, 0, /**/ -1, 0, 0, -1);
    const cost = weightSimilarity({ ...layer, weights: { ...layer.weights, key, value: key } });
    expect(cost([0])).toBe(0);
    expect(cost([0, 1])).toBeCloseTo(0, 12);
    expect(cost([0, 2])).toBeCloseTo(2, 12);
    expect(cost([0, 3])).toBeCloseTo(4, 12);
    // Three heads: the mean over the pairs, times the two heads that go.
    expect(cost([0, 1, 2])).toBeCloseTo((2 * (0 + 2 + 2)) / 3, 12);
  });

  it('needs weights', () => {
    const error = expectKvlrError(() => weightSimilarity({ ...layer, weights: undefined }), 'invalid-argument');
    expect(error.where).toEqual({ layer: 0, argument: 'weights' });
  });
});

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

describe('subspaceAffinity', () => {
  it('measures principal angles between row spaces, whatever basis they are written in', () => {
    const key = weightsOfAxes([
      [0, 1],
      [0, 1],
      [2, 3],
      [1, 2],
    ]);
    const weights = { ...layer.weights, key, value: key };
    const cost = subspaceAffinity({ ...layer, statistics: undefined, weights });
    expect(cost([0, 1])).toBeCloseTo(0, 10);
    expect(cost([0, 2])).toBeCloseTo(2, 10);
    expect(cost([0, 3])).toBeCloseTo(1, 10);
  });

  it('sees in statistics which heads carry the same signal', () => {
    const cost = subspaceAffinity({ ...layer, weights: undefined });
    for (const group of planted) expect(cost(group)).toBeLessThan(1e-8);
    expect(cost([planted[0]![0]!, planted[1]![0]!])).toBeGreaterThan(0.5);
  });

  it('needs statistics or weights', () => {
    const nothing = { ...layer, statistics: undefined, weights: undefined };
    expectKvlrError(() => subspaceAffinity(nothing), 'invalid-argument', 'expected the attention weights');
  });
});
