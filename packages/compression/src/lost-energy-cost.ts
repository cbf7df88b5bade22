import { eigHermitian, eigSymmetric, type Matrix, multiply, selectTiles } from '@kvlr/linalg';
import { complexKeyMoments } from '@kvlr/rope';
import { weigh } from './factors/fit-phasor.ts';
import { metricRoots } from './factors/metric-roots.ts';
import { keyMoment } from './moments/key-moment.ts';
import { outputMetric } from './moments/output-metric.ts';
import { queryEnergy } from './moments/query-energy.ts';
import { valueMoment } from './moments/value-moment.ts';
import type { SourceLayer } from './ports.ts';

/**
 * Cost of letting heads share one: the key energy and the value energy that are lost, each as a share of the layer's
 * total, 0 to 2 together. Keys are counted per frequency and weighted by the queries, values in the output metric, as
 * the method 'rope-exact-output' fits them. What a `GroupingRequest` carries as `cost`.
 *
 * @throws KvlrError 'invalid-argument' when the layer carries no statistics.
 */
export function lostEnergyCost(layer: SourceLayer): (heads: readonly number[]) => number {
  const { headDim, numKeyValueHeads } = layer.shape;
  const everyHead = Array.from({ length: numKeyValueHeads }, (_, head) => head);
  const energyOfKeys = queryEnergy(layer, everyHead);
  const roots = metricRoots(outputMetric(layer, everyHead));
  const weighedValues = multiply(multiply(roots.root, valueMoment(layer, everyHead, 'activations')), roots.root);

  const keySpectra = (heads: readonly number[]): Float64Array[] => {
    const gammas = complexKeyMoments(keyMoment(layer, heads, 'activations').data, heads.length, headDim);
    return gammas.map((gamma, frequency) => {
      const roots = Float64Array.from(heads, (head) => Math.sqrt(energyOfKeys.data[(head * headDim) / 2 + frequency]!));
      return eigHermitian(weigh(gamma, roots)).values;
    });
  };
  const totalKeyEnergy = everyHead.flatMap((head) => keySpectra([head])).reduce((sum, values) => sum + values[0]!, 0);
  const totalValueEnergy = trace(weighedValues);

  return (heads) => {
    const lostKeyEnergy = keySpectra(heads).reduce((sum, values) => sum + tail(values, 1), 0);
    const lostValueEnergy = tail(eigSymmetric(selectTiles(weighedValues.data, headDim, heads)).values, headDim);
    return share(lostKeyEnergy, totalKeyEnergy) + share(lostValueEnergy, totalValueEnergy);
  };
}

/** Sum of the eigenvalues after the first `kept`; rounding below zero counts as zero. */
function tail(values: Float64Array, kept: number): number {
  return values.subarray(kept).reduce((sum, value) => sum + Math.max(value, 0), 0);
}

function trace({ data, rows, cols }: Matrix): number {
  let sum = 0;
  for (let index = 0; index < rows; index++) sum += data[index * (cols + 1)]!;
  return sum;
}

function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0;
}
