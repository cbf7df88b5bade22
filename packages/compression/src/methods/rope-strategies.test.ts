import { layerRope } from '@kvlr/core';
import { createComplexMatrix } from '@kvlr/linalg';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { fitPhasors, type PhasorFactors } from '../factors/phasors.ts';
import type { SourceLayer } from '../source-layer.ts';
import { randomInputs, readSourceLayer } from '../testing/compress-model.ts';
import { phasorKeys } from './keys.ts';
import { foldedKeys } from './rope-strategies.ts';

/** W x + b of one head as complex numbers per frequency, written out. */
function complexHead(weight: Float64Array, bias: Float64Array, head: number, headDim: number, input: Float64Array) {
  const component = (row: number) =>
    bias[head * headDim + row]! +
    input.reduce((sum, entry, i) => sum + weight[(head * headDim + row) * input.length + i]! * entry, 0);
  const half = headDim / 2;
  return Array.from({ length: half }, (_, j) => ({ real: component(j), imag: component(j + half) }));
}

/** Factors per group and frequency from the statistics, by the formulas and without the package's own moments. */
function referenceFactors({ shape, statistics }: SourceLayer, heads: number[], count: number): PhasorFactors[][] {
  const { headDim, numKeyValueHeads } = shape;
  const width = numKeyValueHeads * headDim;
  const half = headDim / 2;
  const moment = (row: number, column: number) => statistics!.keySecondMoment[row * width + column]!;
  return Array.from({ length: half }, (_, j) => {
    const gamma = createComplexMatrix(heads.length, heads.length);
    heads.forEach((left, i) => {
      heads.forEach((right, k) => {
        const [x, y] = [left * headDim + j, left * headDim + j + half];
        const [u, v] = [right * headDim + j, right * headDim + j + half];
        gamma.real[i * heads.length + k] = moment(x, u) + moment(y, v);
        gamma.imag[i * heads.length + k] = moment(y, u) - moment(x, v);
      });
    });
    // Two query heads read each KV head here: 2 i and 2 i + 1.
    const weights = Float64Array.from(heads, (head) =>
      [2 * head, 2 * head + 1].reduce((sum, queryHead) => {
        const start = queryHead * headDim * headDim;
        const diagonal = (row: number) => statistics!.querySecondMoment[start + row * headDim + row]!;
        return sum + diagonal(j) + diagonal(j + half);
      }, 0),
    );
    return fitPhasors(gamma, weights, 'complex', count);
  });
}

describe('foldedKeys', () => {
  it.each([
    {
      what: 'one pair a frequency',
      count: 1,
      groups: [
        [3, 0],
        [1, 2],
      ],
      queryOrder: [0, 1, 6, 7, 2, 3, 4, 5],
    },
    { what: 'two pairs a frequency', count: 2, groups: [[3, 0, 2, 1]], queryOrder: [0, 1, 2, 3, 4, 5, 6, 7] },
  ])('gives the scores of the complex formula at every pair of positions: $what', async (planned) => {
    const { count, groups, queryOrder } = planned;
    const model = createTinyModel({ seed: 9, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true });
    const layer = await readSourceLayer(model, 1);
    const { headDim } = layer.shape;
    const { rope } = layerRope(layer.shape, 1)!;
    const half = headDim / 2;
    const { query, queryBias, key, keyBias } = layer.weights;
    const width = count * headDim;
    const strategy = foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' }));
    const folded = strategy(layer, groups, groups.length * width);
    expect([folded.keySlots, folded.keySlotWidth]).toEqual([groups.length, width]);
    const [queryInput, keyInput] = randomInputs(2, layer.shape.hiddenSize, 3) as [Float64Array, Float64Array];
    const angle = (position: number, pair: number) => position * rope.theta ** ((-2 * (pair % half)) / headDim);

    for (const [m, n] of [
      [0, 0],
      [5, 2],
      [17, 3],
      [90, 89],
    ] as const) {
      queryOrder.forEach((queryHead, place) => {
        const group = Math.floor((place * groups.length) / 8);
        const heads = groups[group]!;
        const member = heads.indexOf(Math.floor(queryHead / 2));
        const factors = referenceFactors(layer, heads, count);
        const chi = complexHead(query, queryBias!, queryHead, headDim, queryInput);
        const kappas = heads.map((head) => complexHead(key, keyBias!, head, headDim, keyInput));

        let direct = 0;
        for (let j = 0; j < half; j++) {
          let real = 0;
          let imag = 0;
          for (const { encoder, decoder } of factors[j]!) {
            let zReal = 0;
            let zImag = 0;
            kappas.forEach((kappa, i) => {
              zReal += encoder.real[i]! * kappa[j]!.real - encoder.imag[i]! * kappa[j]!.imag;
              zImag += encoder.real[i]! * kappa[j]!.imag + encoder.imag[i]! * kappa[j]!.real;
            });
            real += decoder.real[member]! * zReal - decoder.imag[member]! * zImag;
            imag += decoder.real[member]! * zImag + decoder.imag[member]! * zReal;
          }
          const turn = angle(n - m, j);
          // Re conj(chi) (real + i imag) exp(i turn)
          direct += chi[j]!.real * (real * Math.cos(turn) - imag * Math.sin(turn));
          direct += chi[j]!.imag * (real * Math.sin(turn) + imag * Math.cos(turn));
        }

        const rotated = (
          weight: Float64Array,
          bias: Float64Array,
          head: number,
          input: Float64Array,
          position: number,
        ) =>
          complexHead(weight, bias, head, width, input).flatMap(({ real, imag }, j) => {
            const [cosine, sine] = [Math.cos(angle(position, j)), Math.sin(angle(position, j))];
            return [real * cosine - imag * sine, real * sine + imag * cosine];
          });
        const foldedQuery = rotated(folded.query, folded.queryBias!, place, queryInput, m);
        const foldedKey = rotated(folded.key, folded.keyBias!, group, keyInput, n);
        const score = foldedQuery.reduce((sum, entry, c) => sum + entry * foldedKey[c]!, 0);
        // Engines divide by the square root of the width.
        expect(score / Math.sqrt(width)).toBeCloseTo(direct / Math.sqrt(headDim), 9);
      });
    }
  });
});
