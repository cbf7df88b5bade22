import { type HeadGroups, keyValueHeadOf, queryHeadsOf } from '@kvlr/core';
import { addTo, createMatrix, hstack, type Matrix, multiply, transpose, vstack } from '@kvlr/linalg';
import { headRows, outputColumns } from './heads.ts';
import type { GroupFactors } from './ports.ts';
import type { SourceLayer } from './source-layer.ts';

/** A projection and its bias, where it has one. */
interface Projection {
  weight: Float64Array;
  bias: Float64Array | undefined;
}

/**
 * Weights and bias of the heads that the groups share: W' = A W_S and b' = A b_S, group after group.
 *
 * @param source Weight [K*D, inputs]; bias [K*D].
 * @returns [G*D, inputs] and [G*D].
 */
export function foldSharedHeads(
  source: Projection,
  groups: HeadGroups,
  factors: readonly GroupFactors[],
  headDim: number,
): Projection {
  const inputs = source.weight.length / (groups.flat().length * headDim);
  return foldBoth(source, inputs, (data, width) =>
    vstack(...groups.map((heads, group) => multiply(factors[group]!.encoder, headRows(data, heads, headDim, width)))),
  );
}

/**
 * Query rows in the order of the result, each head multiplied by its decoder transposed: W_Q,h' = B^T W_Q,h, and the
 * bias likewise. The scores against the shared key are then those against the key it stands for.
 *
 * @param order Source head at each place of the result.
 * @param decoderOf Decoder [D, r] of a source query head's KV head.
 */
export function foldQuery(
  { shape, weights }: SourceLayer,
  order: readonly number[],
  decoderOf: (queryHead: number) => Matrix,
): Projection {
  const { headDim, hiddenSize } = shape;
  return foldBoth({ weight: weights.query, bias: weights.queryBias }, hiddenSize, (data, width) =>
    vstack(
      ...order.map((queryHead) =>
        multiply(transpose(decoderOf(queryHead)), headRows(data, [queryHead], headDim, width)),
      ),
    ),
  );
}

/** The layer's query rows in the order of the result, otherwise unchanged. */
export function permuteQuery({ shape, weights }: SourceLayer, order: readonly number[]): Projection {
  const { headDim, hiddenSize } = shape;
  return foldBoth({ weight: weights.query, bias: weights.queryBias }, hiddenSize, (data, width) =>
    headRows(data, order, headDim, width),
  );
}

/** The same for the weight, which has `inputs` columns, and for the bias, which has one. */
function foldBoth(
  { weight, bias }: Projection,
  inputs: number,
  fold: (data: Float64Array, width: number) => Matrix,
): Projection {
  return { weight: fold(weight, inputs).data, bias: bias === undefined ? undefined : fold(bias, 1).data };
}

/**
 * Columns of the output projection in the order of the result, each head multiplied by its decoder:
 * W_O,h' = W_O,h B. The shared value then contributes what the value it stands for did.
 *
 * @param decoderOf Decoder [D, r] of a source query head's KV head.
 * @returns [hiddenSize, H*r].
 */
export function foldOutput(
  layer: SourceLayer,
  order: readonly number[],
  decoderOf: (queryHead: number) => Matrix,
): Float64Array {
  return hstack(...order.map((queryHead) => multiply(outputColumns(layer, [queryHead]), decoderOf(queryHead)))).data;
}

/**
 * The bias of the output projection with what the values lack of their means: b_O' = b_O + sum over query heads of
 * W_O,h (mean - B A mean). Undefined for a model that has no such bias.
 */
export function foldOutputBias(
  layer: SourceLayer,
  valueHeads: HeadGroups,
  factors: readonly GroupFactors[],
): Float64Array | undefined {
  const { outputBias } = layer.weights;
  if (outputBias === undefined) return undefined;
  const bias = createMatrix(outputBias.length, 1, outputBias.slice());
  valueHeads.forEach((heads, slot) => {
    factors[slot]!.lostMeans?.forEach((lost, place) => {
      for (const queryHead of queryHeadsOf(layer.shape, [heads[place]!])) {
        addTo(bias, multiply(outputColumns(layer, [queryHead]), createMatrix(lost.length, 1, lost)));
      }
    });
  });
  return bias.data;
}

/** Decoder that each source query head carries: that of the KV head it reads. */
export function decoderLookup(
  { shape }: SourceLayer,
  groups: HeadGroups,
  factors: readonly GroupFactors[],
): (queryHead: number) => Matrix {
  const decoderOfHead: Matrix[] = [];
  groups.forEach((heads, group) => {
    heads.forEach((head, place) => {
      decoderOfHead[head] = factors[group]!.decoders[place]!;
    });
  });
  return (queryHead) => decoderOfHead[keyValueHeadOf(shape, queryHead)]!;
}
