import type { HeadGroups } from '@kvlr/core';
import { queryHeadsOf } from '@kvlr/core';
import { addTo, frobeniusSquared } from '@kvlr/linalg';
import { widenHeads } from '@kvlr/rope';
import { attendedValues, type BlockInputs, projectHeads, stockAttention } from '../attended/attention.ts';
import { compressLayer } from '../compress-by-name.ts';
import { selectHeads } from '../heads.ts';
import type { CompressionMethod } from '../ports.ts';
import type { SourceLayer } from '../source-layer.ts';

/** Error at the output of the attention block when these groups, and no other heads, are merged. */
export type MergeError = (groups: HeadGroups) => number;

/**
 * Measures what merging heads by a method does to the output of a layer's attention block on recorded text: the expected
 * squared error, as a share of the expected square of the block's whole output. Heads outside the groups stay, and so
 * cancel out: the output is a sum over query heads. Groups measured together count the interplay of their errors too.
 *
 * @param inputs Normed inputs of the block in the original model.
 * @param headWidth Of the merged heads, in widths of a head.
 * @throws KvlrError as `compressLayer` does.
 */
export function mergeError(
  layer: SourceLayer,
  method: string | CompressionMethod,
  inputs: BlockInputs,
  headWidth = 1,
): MergeError {
  const attended = attendedValues(stockAttention(layer), layer, inputs);
  const energy = frobeniusSquared(projectHeads(attended, layer.weights));
  return (groups) => {
    const heads = groups.flat().sort((left, right) => left - right);
    const part = selectHeads(layer, heads);
    const own = queryHeadsOf(layer.shape, heads).map((queryHead) => attended[queryHead]!);
    const places = groups.map((group) => group.map((head) => heads.indexOf(head)));
    // A group of no more heads than a shared one is wide loses nothing in one as wide as they are.
    const width = Math.min(headWidth, ...groups.map((group) => group.length));
    const merged = compressLayer({ ...part, groups: places, method, headWidth: width });
    const result = { shape: widenHeads(part.shape, width), layer: part.layer };
    const error = projectHeads(own, part.weights);
    addTo(error, projectHeads(attendedValues(merged, result, inputs), merged.weights), -1);
    return energy > 0 ? frobeniusSquared(error) / energy : 0;
  };
}
