import { type BudgetPolicy, type BudgetRequest, throwIfAborted } from '@kvlr/core';
import { conditionNumber } from '../condition-number.ts';
import { spreadTotal } from '../spread-total.ts';

/**
 * LoRC's progressive schedule (Zhang et al. 2024, arXiv 2410.03111). An error made in a layer passes through all
 * layers behind it, so a layer's sensitivity is its cumulative condition number: the product, over it and every deeper layer,
 * of the condition numbers of the key and the value projection. The count a layer keeps lies between a greatest and a
 * smallest, in proportion to where the logarithm of its sensitivity lies between the largest and the smallest of all layers:
 * shallow layers keep most and deep ones least.
 *
 * There greatest and smallest are given; here they follow from the total. The greatest is everything and the smallest
 * what is then left, or, when that is less than the smallest candidate, the smallest candidate and a lower greatest. The
 * schedule is then moved to the nearest counts that may be kept, by least squares at the same total.
 */
export const progressiveBudget: BudgetPolicy = async (request) => {
  const { uniform, total, candidates } = request;
  const shared = candidates.keys.filter((count) => candidates.values.includes(count));
  const sensitivities = await cumulativeLogConditions(request);
  const schedule = scheduleCounts(sensitivities, uniform.keys, shared[0]!, shared.at(-1)!);
  const items = schedule.map((wanted) => ({
    sizes: shared.map((count) => 2 * count),
    losses: shared.map((count) => (count - wanted) ** 2),
  }));
  return spreadTotal(items, total, 'all').map((choice) => shared[choice]!);
};

/** Logarithm of the cumulative condition number of each layer: falls with depth. */
async function cumulativeLogConditions({ shape, weights, onProgress, signal }: BudgetRequest): Promise<number[]> {
  const rows = shape.numKeyValueHeads * shape.headDim;
  const logarithms: number[] = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    throwIfAborted(signal);
    const { key, value } = await weights(layer);
    const condition = (weight: Float64Array) => Math.log(conditionNumber(weight, rows, shape.hiddenSize));
    logarithms.push(condition(key) + condition(value));
    onProgress?.(layer + 1, shape.numLayers);
  }
  for (let layer = shape.numLayers - 2; layer >= 0; layer--) logarithms[layer]! += logarithms[layer + 1]!;
  return logarithms;
}

/**
 * The schedule before rounding: greatest - t (greatest - smallest), t = 0 for the most and 1 for the least sensitive layer,
 * with the given mean.
 */
export function scheduleCounts(
  sensitivities: readonly number[],
  mean: number,
  lowest: number,
  highest: number,
): number[] {
  const most = Math.max(...sensitivities);
  const range = most - Math.min(...sensitivities);
  if (range === 0) return sensitivities.map(() => mean);
  const places = sensitivities.map((sensitivity) => (most - sensitivity) / range);
  const meanPlace = places.reduce((sum, place) => sum + place, 0) / places.length;
  const left = highest - (highest - mean) / meanPlace;
  const smallest = Math.max(lowest, left);
  const greatest = left >= lowest ? highest : (mean - meanPlace * lowest) / (1 - meanPlace);
  return places.map((place) => greatest - place * (greatest - smallest));
}
