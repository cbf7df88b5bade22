import { stockLayout } from '@kvlr/core';
import { compressLayer } from '../compress-layer.ts';
import type { CompressionMethod, SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';
import { attendedValues, type BlockInputs, projectHeads } from './attended-values.ts';
import { selectHeads } from './select-heads.ts';

/** Error at the output of the attention block when these groups, and no other heads, are merged. */
export type MergeError = (groups: readonly (readonly number[])[]) => number;

/**
 * Measures what merging heads by a method does to the output of a layer's attention block on recorded text: the expected
 * squared error, as a share of the expected square of the block's whole output. Heads outside the groups stay, and so
 * cancel out: the output is a sum over query heads. Groups measured together count the interplay of their errors too.
 *
 * @param inputs Normed inputs of the block in the original model.
 * @throws KvlrError as `compressLayer` does.
 */
export function mergeError(layer: SourceLayer, method: string | CompressionMethod, inputs: BlockInputs): MergeError {
  const { shape, weights } = layer;
  const layout = stockLayout(shape.numKeyValueHeads, shape.headDim);
  const attended = attendedValues({ weights, layout }, shape, inputs);
  const energy = sumOfSquares(projectHeads(attended, weights).data);
  return (groups) => {
    const heads = groups.flat().sort((left, right) => left - right);
    const part = selectHeads(layer, heads);
    const own = queryHeadsOf(shape, heads).map((queryHead) => attended[queryHead]!);
    const places = groups.map((group) => group.map((head) => heads.indexOf(head)));
    const merged = compressLayer({ ...part, groups: places, method });
    const error = projectHeads(own, part.weights).data;
    projectHeads(attendedValues(merged, part.shape, inputs), merged.weights).data.forEach((entry, index) => {
      error[index]! -= entry;
    });
    return energy > 0 ? sumOfSquares(error) / energy : 0;
  };
}

function sumOfSquares(numbers: Float64Array): number {
  return numbers.reduce((sum, entry) => sum + entry * entry, 0);
}
