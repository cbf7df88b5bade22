import {
  type AttentionWeights,
  type DecoderShape,
  type HeadGroups,
  KvlrError,
  type LayerStatistics,
  layerRope,
  layerTensors,
  type ModelSource,
  type PositionShape,
  type RopeParameters,
  rolesOfAttentionWeights,
} from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';

/** One layer as it is before compression: H query heads, K KV heads, head width D, hidden width d. */
export interface SourceLayer {
  shape: DecoderShape;
  layer: number;
  weights: AttentionWeights;
  /** Second moments over calibration text. Absent for methods that read the weights alone. */
  statistics?: LayerStatistics | undefined;
  /** Moments of attended values of the groups that the layer is compressed to, for methods that need them. */
  attended?: readonly GroupAttendedMoments[] | undefined;
}

/** Second moments of what the query heads of one group would attend to in the values of all its heads. */
export interface GroupAttendedMoments {
  /** KV heads of the group, and the query heads that read them. */
  heads: readonly number[];
  queryHeads: readonly number[];
  /** E[u_h u_g^T] of query heads h and g, [n][n] of [t*D, t*D]. */
  moments: Matrix[][];
}

/** What moments and costs read of a layer. A `SourceLayer` is one, and so is what a grouping strategy is told. */
export interface LayerData {
  shape: Pick<DecoderShape, 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'> &
    Partial<Pick<DecoderShape, 'layers' | 'attention'>>;
  layer: number;
  /** How the layer knows positions, where the shape does not say. Left out: RoPE over whole heads. */
  positions?: PositionShape | undefined;
  weights?: AttentionWeights | undefined;
  statistics?: LayerStatistics | undefined;
}

/**
 * Reads the attention projections of one layer as Float64.
 *
 * @throws KvlrError 'tensor-missing' and 'non-finite' from the tensor source.
 */
export async function readAttentionWeights(source: ModelSource, layer: number): Promise<AttentionWeights> {
  const weights: Partial<AttentionWeights> = {};
  for (const { name, role } of attentionTensors(source.shape, layer)) {
    weights[name] = Float64Array.from(await source.tensors.readFloat32(source.tensorName(role, layer)));
  }
  return weights as AttentionWeights;
}

/** The attention weights that a layer of this shape has, and the shapes of their tensors. */
function attentionTensors(shape: DecoderShape, layer: number) {
  const tensors = layerTensors(shape, layer);
  return Object.entries(rolesOfAttentionWeights).flatMap(([name, role]) =>
    tensors
      .filter((tensor) => tensor.role === role)
      .map((tensor) => ({ name: name as keyof AttentionWeights, role, shape: tensor.shape })),
  );
}

/**
 * The layer's statistics.
 *
 * @throws KvlrError 'invalid-argument' when it carries none.
 */
export function requireStatistics({ statistics, layer }: LayerData): LayerStatistics {
  if (statistics !== undefined) return statistics;
  throw new KvlrError('invalid-argument', {
    message: 'expected statistics of the layer, got none',
    hint: "Calibrate on a text first, or take what reads the weights alone: the methods 'mean-pool' and 'svd-w', the groupings 'contiguous' and 'weight-similarity'.",
    where: { layer, argument: 'statistics' },
  });
}

/**
 * The layer's attention weights.
 *
 * @throws KvlrError 'invalid-argument' when it carries none.
 */
export function requireWeights({ weights, layer }: LayerData): AttentionWeights {
  if (weights !== undefined) return weights;
  throw new KvlrError('invalid-argument', {
    message: 'expected the attention weights of the layer, got none',
    hint: 'Read them with readAttentionWeights.',
    where: { layer, argument: 'weights' },
  });
}

/** How the layer knows positions; undefined where nothing says so. */
export function positionsOf({ shape, layer, positions }: LayerData): PositionShape | undefined {
  return positions ?? shape.layers?.[layer]?.positions;
}

/**
 * RoPE of the layer.
 *
 * @throws KvlrError 'unsupported-feature' for layers that know positions in another way.
 */
export function requireRope({ shape, layer }: Pick<SourceLayer, 'shape' | 'layer'>): RopeParameters {
  const positions = layerRope(shape, layer);
  if (positions !== undefined) return positions.rope;
  throw new KvlrError('unsupported-feature', {
    message: `expected rotary positions, got ${shape.layers[layer]?.positions.kind}`,
    hint: 'Take a method whose keys do not look at positions.',
    where: { layer },
  });
}

/**
 * Checks that groups, weights and statistics fit the layer's shape, before anything is computed.
 *
 * @throws KvlrError 'grouping-invalid' or 'tensor-shape'.
 */
export function requireSourceLayer({ shape, layer, weights, statistics }: SourceLayer, groups: HeadGroups): void {
  const { numAttentionHeads, numKeyValueHeads, headDim } = shape;
  const heads = groups.flat().sort((left, right) => left - right);
  const size = groups[0]?.length ?? 0;
  if (
    heads.length !== numKeyValueHeads ||
    heads.some((head, index) => head !== index) ||
    groups.some((group) => group.length !== size)
  ) {
    throw new KvlrError('grouping-invalid', {
      message: `expected groups of equal size with each of ${numKeyValueHeads} KV heads once, got ${JSON.stringify(groups)}`,
      hint: 'Take the groups from groupHeads of @kvlr/grouping, which checks them.',
      where: { layer, argument: 'groups' },
      data: { layer, groups },
    });
  }
  const requireLength = (argument: string, data: Float64Array | undefined, expected: number) => {
    if (data === undefined || data.length === expected) return;
    throw new KvlrError('tensor-shape', {
      message: `expected ${expected} numbers, got ${data.length}`,
      hint: 'Weights and statistics must come from the same model.',
      where: { layer, argument },
      data: { layer, name: argument, expected, received: data.length },
    });
  };
  for (const { name, shape: sizes } of attentionTensors(shape, layer)) {
    const expected = sizes.reduce((product, side) => product * side, 1);
    requireLength(`weights.${name}`, weights[name], expected);
  }
  if (statistics === undefined) return;
  const keyWidth = numKeyValueHeads * headDim;
  const queryNumbers = numAttentionHeads * headDim * headDim;
  requireLength('statistics.keySecondMoment', statistics.keySecondMoment, keyWidth ** 2);
  requireLength('statistics.rotatedKeySecondMoment', statistics.rotatedKeySecondMoment, keyWidth ** 2);
  requireLength('statistics.rotatedKeyMean', statistics.rotatedKeyMean, keyWidth);
  requireLength('statistics.valueSecondMoment', statistics.valueSecondMoment, keyWidth ** 2);
  requireLength('statistics.valueMean', statistics.valueMean, keyWidth);
  requireLength('statistics.receivedValueSecondMoment', statistics.receivedValueSecondMoment, keyWidth ** 2);
  requireLength('statistics.querySecondMoment', statistics.querySecondMoment, queryNumbers);
  requireLength('statistics.rotatedQuerySecondMoment', statistics.rotatedQuerySecondMoment, queryNumbers);
}
