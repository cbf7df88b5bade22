import { keyValueHeadOf } from '@kvlr/core';
import { multiply, multiplyTransposed, transpose } from '@kvlr/linalg';
import { fitAttendedFactors } from '../attended/fit-factors.ts';
import { alignRotations } from '../factors/align.ts';
import { meanPoolFactors, normalizeEnergy, subspaceFactors } from '../factors/subspace.ts';
import { headRows, outputColumns } from '../heads.ts';
import { outputMetric, type ValueMomentSource, valueMoment } from '../moments.ts';
import type { ValueMethod } from '../ports.ts';
import { requireStatistics } from '../source-layer.ts';

/** One value per group: the mean of its heads' values. */
export const meanPoolValues: ValueMethod = (layer, heads) => meanPoolFactors(heads.length, layer.shape.headDim);

/** One value per group: the mean of its heads' values, after an orthogonal map of each head that makes them agree. */
export const alignedValues: ValueMethod = (layer, heads) =>
  alignRotations(valueMoment(layer, heads, 'activations'), layer.shape.headDim);

export interface SubspaceValueSettings {
  /** Where the spectrum is taken. */
  moment: ValueMomentSource;
  /** 'identity' counts errors of the values; 'output' counts them as the output projection sees them. */
  metric: 'identity' | 'output';
}

/** One value for the heads of a slot: as many directions of their values as it is wide, those that lose least in the metric. */
export function subspaceValues({ moment: source, metric }: SubspaceValueSettings): ValueMethod {
  return (layer, heads, width) => {
    const moment = valueMoment(layer, heads, source);
    const blocks = metric === 'output' ? outputMetric(layer, heads) : undefined;
    return normalizeEnergy(subspaceFactors(moment, layer.shape.headDim, width, blocks), moment);
  };
}

const outputValues = /* @__PURE__ */ subspaceValues({ moment: 'activations', metric: 'output' });
const centredOutputValues = /* @__PURE__ */ subspaceValues({ moment: 'centred', metric: 'output' });

/**
 * As `subspaceValues` of activations in the output metric, where the mean value costs nothing: directions are spent on what
 * varies, and what they lose of the mean moves into the bias of the output projection. A model without that bias has no
 * place for it; there the values are fitted with their mean.
 */
export const centredValues: ValueMethod = (layer, heads, width) => {
  const { headDim, attention } = layer.shape;
  if (!attention.outputBias) return outputValues(layer, heads, width);
  const factors = centredOutputValues(layer, heads, width);
  const { valueMean } = requireStatistics(layer);
  const encoded = multiply(factors.encoder, headRows(valueMean, heads, headDim, 1));
  const lostMeans = factors.decoders.map((decoder, place) => {
    const kept = multiply(decoder, encoded).data;
    return headRows(valueMean, [heads[place]!], headDim, 1).data.map((value, row) => value - kept[row]!);
  });
  return { ...factors, lostMeans };
};

const receivedOutputValues = /* @__PURE__ */ subspaceValues({ moment: 'received', metric: 'output' });

/**
 * As `subspaceValues` in the output metric, of values that count by the attention that they get: what the block adds up. An attention
 * sink, whose value is a small part of all values, is half of all attended ones. Where the output projection has a bias, as
 * `centredValues`.
 */
export const receivedValues: ValueMethod = (layer, heads, width) =>
  (layer.shape.attention.outputBias ? centredValues : receivedOutputValues)(layer, heads, width);

/**
 * One value per group, fitted to what the query heads attend to: alternating least squares on the block's output, started
 * from the subspace that loses least in the output metric. A value counts by how much attention it gets, and errors of one
 * head may be made good by another. Where the layer carries no moments of these heads (groups that are only being weighed
 * against others, models whose moments do not fit into memory) the start is the result.
 */
export const attendedValueFactors: ValueMethod = (layer, heads, width) => {
  const start = outputValues(layer, heads, width);
  const found = layer.attended?.find(({ heads: other }) => other.join() === heads.join());
  if (found === undefined) return start;
  const { moments, queryHeads } = found;
  const outputs = queryHeads.map((head) => transpose(outputColumns(layer, [head])));
  const grams = outputs.map((left) => outputs.map((right) => multiplyTransposed(left, right)));
  const places = queryHeads.map((head) => heads.indexOf(keyValueHeadOf(layer.shape, head)));
  const { factors } = fitAttendedFactors({ moments, grams, places }, start);
  return normalizeEnergy(factors, valueMoment(layer, heads, 'activations'));
};
