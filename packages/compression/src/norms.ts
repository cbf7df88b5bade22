import type { AttentionWeights, NormShape } from '@kvlr/core';
import { createMatrix, multiply, splitRows } from '@kvlr/linalg';
import type { SourceLayer } from './source-layer.ts';

/** Queries or keys, each with a norm of its own behind the projection. */
export type NormedSide = 'query' | 'key';

/** What stands between the projections of queries and keys and their positions. */
export function normOf({ shape }: SourceLayer): NormShape & { over: 'head' | 'heads' | 'projection' } {
  return shape.attention.queryKeyNorm!;
}

/** Scales of a head's numbers, [D], as the norm applies them. */
export function normScale(layer: SourceLayer, side: NormedSide, head: number): Float64Array {
  const { headDim } = layer.shape;
  const { over, unitOffset } = normOf(layer);
  const written = layer.weights[`${side}Norm`];
  if (written === undefined) return new Float64Array(headDim).fill(1);
  const start = over === 'head' ? 0 : head * headDim;
  return written.slice(start, start + headDim).map((scale) => scale + (unitOffset ? 1 : 0));
}

/**
 * The projections as they are with their norms taken as constants: rows times the norm's scale, less the mean that a LayerNorm takes
 * away, and for keys over the head's length on the calibration text, so that heads weigh as they do behind the norm.
 */
export function withoutNorms(layer: SourceLayer): AttentionWeights {
  const linear = knownWeights.get(layer) ?? linearise(layer);
  knownWeights.set(layer, linear);
  return linear;
}

/** Asked for by every group of a layer, and a product with the moment of its inputs. */
const knownWeights = new WeakMap<SourceLayer, AttentionWeights>();

function linearise(layer: SourceLayer): AttentionWeights {
  const { weights, shape } = layer;
  const { headDim, hiddenSize, numKeyValueHeads, numAttentionHeads } = shape;
  const linear = { ...weights };
  for (const side of ['query', 'key'] as const) {
    const count = side === 'query' ? numAttentionHeads : numKeyValueHeads;
    const parts = [weights[side], weights[`${side}Bias`]];
    const centred = parts.map((data) => data && centreRows(layer, data, count));
    const lengths = side === 'key' ? headLengths(layer, centred[0]!, centred[1]) : new Float64Array(count).fill(1);
    const [weight, bias] = centred.map(
      (data) =>
        data &&
        scaleRows(data, hiddenSize * count * headDim === data.length ? hiddenSize : 1, (row) => {
          const head = Math.floor(row / headDim);
          return normScale(layer, side, head)[row % headDim]! / lengths[head]!;
        }),
    );
    linear[side] = weight!;
    if (bias !== undefined) linear[`${side}Bias`] = bias;
  }
  return linear;
}

/** Rows less the mean over those that a LayerNorm norms together; unchanged under RMSNorm. */
function centreRows(layer: SourceLayer, data: Float64Array, heads: number): Float64Array {
  const { kind, over } = normOf(layer);
  if (kind === 'rms') return data;
  const height = over === 'projection' ? heads * layer.shape.headDim : layer.shape.headDim;
  const width = data.length / (heads * layer.shape.headDim);
  const centred = data.slice();
  for (let start = 0; start < data.length; start += height * width) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      for (let row = 0; row < height; row++) sum += data[start + row * width + column]!;
      for (let row = 0; row < height; row++) centred[start + row * width + column]! -= sum / height;
    }
  }
  return centred;
}

/**
 * Root mean square of each head's projected numbers over the calibration text, from the second moment of the block's input; of
 * all heads together where the norm is over the whole projection. Without statistics inputs count as white.
 */
function headLengths(layer: SourceLayer, weight: Float64Array, bias: Float64Array | undefined): Float64Array {
  const { shape, statistics } = layer;
  const { headDim, hiddenSize } = shape;
  const { over, epsilon } = normOf(layer);
  const heads = weight.length / (headDim * hiddenSize);
  const all = createMatrix(heads * headDim, hiddenSize, weight);
  const moment = statistics && createMatrix(hiddenSize, hiddenSize, statistics.inputSecondMoment);
  const energies = splitRows(all, headDim).map((own, head) => {
    let energy = sumOfProducts(own.data, moment === undefined ? own.data : multiply(own, moment).data);
    if (bias !== undefined) {
      const means = statistics && multiply(own, createMatrix(hiddenSize, 1, statistics.inputMean)).data;
      for (let row = 0; row < headDim; row++) {
        const constant = bias[head * headDim + row]!;
        energy += constant * (constant + 2 * (means?.[row] ?? 0));
      }
    }
    return energy / headDim;
  });
  const shared = energies.reduce((sum, energy) => sum + energy, 0) / heads;
  return Float64Array.from(energies, (energy) => Math.sqrt((over === 'projection' ? shared : energy) + epsilon));
}

/** sum of left[i] right[i]. */
export function sumOfProducts(left: Float64Array, right: Float64Array): number {
  return left.reduce((sum, value, index) => sum + value * right[index]!, 0);
}

/** Rows of a matrix, each times its factor. */
export function scaleRows(data: Float64Array, width: number, factorOf: (row: number) => number): Float64Array {
  const scaled = data.slice();
  for (let row = 0; row * width < data.length; row++) {
    const factor = factorOf(row);
    for (let column = row * width; column < (row + 1) * width; column++) scaled[column]! *= factor;
  }
  return scaled;
}
