import type { GroupFactors, SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';

/**
 * The bias of the output projection with what the values lack of their means: b_O' = b_O + sum over query heads of
 * W_O,h (mean - B A mean). Undefined for a model that has no such bias.
 */
export function foldOutputBias(
  { shape, weights }: SourceLayer,
  valueHeads: readonly (readonly number[])[],
  factors: readonly GroupFactors[],
): Float64Array | undefined {
  if (weights.outputBias === undefined) return undefined;
  const { headDim, hiddenSize, numAttentionHeads } = shape;
  const bias = weights.outputBias.slice();
  const width = numAttentionHeads * headDim;
  valueHeads.forEach((heads, slot) => {
    factors[slot]!.lostMeans?.forEach((lost, place) => {
      for (const queryHead of queryHeadsOf(shape, [heads[place]!])) {
        for (let row = 0; row < hiddenSize; row++) {
          const start = row * width + queryHead * headDim;
          for (let component = 0; component < headDim; component++) {
            bias[row]! += weights.output[start + component]! * lost[component]!;
          }
        }
      }
    });
  });
  return bias;
}
