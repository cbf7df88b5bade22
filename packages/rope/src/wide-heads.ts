import { type DecoderShape, KvlrError, type PositionShape, type RopeParameters } from '@kvlr/core';
import { ropeFrequencies } from './rope-frequencies.ts';

/**
 * RoPE of a head `times` as wide whose pairs have the frequencies of the source over and over: pair p has that of pair
 * p mod (rotaryDim / 2). Any table of frequencies is a 'longrope' whose two lists say the same, so every engine that knows
 * 'longrope' computes it.
 *
 * @param rotaryDim Coordinates of a head of the source that are rotated.
 * @param positions Length of the model's context, up to which and beyond which the lists are alike.
 * @throws KvlrError 'unsupported-feature' for 'dynamic' RoPE, whose frequencies no list holds.
 */
export function repeatFrequencies(
  rope: RopeParameters,
  rotaryDim: number,
  times: number,
  positions: number,
): RopeParameters {
  if (times === 1) return rope;
  if (rope.type === 'dynamic') {
    throw new KvlrError('unsupported-feature', {
      message: 'expected frequencies that do not depend on the length of the text, got RoPE of type dynamic',
      hint: "Keep heads of the source's width.",
    });
  }
  const { theta } = rope;
  const plain = ropeFrequencies({ type: 'default', theta }, times * rotaryDim).frequencies;
  const factorsFor = (sequenceLength: number): number[] => {
    const { frequencies } = ropeFrequencies(rope, rotaryDim, { sequenceLength });
    return Array.from(plain, (frequency, pair) => frequency / frequencies[pair % frequencies.length]!);
  };
  if (rope.type === 'longrope') {
    return { ...rope, shortFactor: factorsFor(0), longFactor: factorsFor(rope.originalMaxPositionEmbeddings + 1) };
  }
  const factors = factorsFor(0);
  const { attentionFactor } = ropeFrequencies(rope, rotaryDim);
  return {
    ...{ type: 'longrope', theta, factor: 1, attentionFactor, originalMaxPositionEmbeddings: positions },
    ...{ shortFactor: factors, longFactor: factors },
  };
}

/**
 * The decoder whose heads are `times` as wide: frequencies repeat, and scores are scaled for the new width. The caches of its layers
 * stay what they were.
 *
 * @throws KvlrError 'unsupported-feature' where heads rotate in part or are normed or clipped, or RoPE depends on the length of the
 *   text.
 */
export function widenHeads(shape: DecoderShape, times: number): DecoderShape {
  if (times === 1) return shape;
  const { headDim, maxPositionEmbeddings, attention } = shape;
  if (attention.queryKeyNorm !== undefined || attention.clip !== undefined) {
    throw new KvlrError('unsupported-feature', {
      message: `expected queries and keys as they are projected, got ${attention.clip === undefined ? 'a norm of them' : 'clipped ones'}`,
      hint: "Keep heads of the source's width.",
    });
  }
  const widen = (positions: PositionShape): PositionShape => {
    if (positions.kind !== 'rope') return positions;
    const { rope, rotaryDim } = positions;
    if (rotaryDim !== headDim) {
      throw new KvlrError('unsupported-feature', {
        message: `expected heads that rotate as a whole, got ${rotaryDim} of ${headDim} coordinates`,
        hint: "Keep heads of the source's width.",
      });
    }
    return {
      ...positions,
      rope: repeatFrequencies(rope, rotaryDim, times, maxPositionEmbeddings),
      rotaryDim: times * rotaryDim,
    };
  };
  const wide = times * headDim;
  const { scoreScale } = attention;
  const isUsual = scoreScale === 1 / Math.sqrt(headDim);
  return {
    ...shape,
    headDim: wide,
    attention: { ...attention, scoreScale: isUsual ? 1 / Math.sqrt(wide) : scoreScale / Math.sqrt(times) },
    layers: shape.layers.map((layer) => ({ ...layer, positions: widen(layer.positions) })),
  };
}
