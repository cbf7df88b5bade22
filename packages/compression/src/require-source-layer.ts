import { KvlrError } from '@kvlr/core';
import type { SourceLayer } from './ports.ts';

/**
 * Checks that groups, weights and statistics fit the layer's shape, before anything is computed.
 *
 * @throws KvlrError 'grouping-invalid' or 'tensor-shape'.
 */
export function requireSourceLayer(
  { shape, layer, weights, statistics }: SourceLayer,
  groups: readonly (readonly number[])[],
): void {
  const { numAttentionHeads, numKeyValueHeads, headDim, hiddenSize } = shape;
  const heads = groups.flat().sort((left, right) => left - right);
  const size = groups[0]?.length ?? 0;
  if (
    heads.length !== numKeyValueHeads ||
    heads.some((head, index) => head !== index) ||
    groups.some((group) => group.length !== size)
  ) {
    throw new KvlrError('grouping-invalid', {
      message: `compressLayer: expected groups of equal size with each of ${numKeyValueHeads} KV heads once, got ${JSON.stringify(groups)} in layer ${layer}`,
      hint: 'Take the groups from groupHeads of @kvlr/grouping, which checks them.',
      data: { layer, groups },
    });
  }
  const queryWidth = numAttentionHeads * headDim;
  const keyWidth = numKeyValueHeads * headDim;
  const requireLength = (name: string, data: Float64Array | undefined, expected: number) => {
    if (data === undefined || data.length === expected) return;
    throw new KvlrError('tensor-shape', {
      message: `compressLayer: expected ${expected} numbers in ${name} of layer ${layer}, got ${data.length}`,
      hint: 'Weights and statistics must come from the same model.',
      data: { layer, name, expected, received: data.length },
    });
  };
  requireLength('weights.query', weights.query, queryWidth * hiddenSize);
  requireLength('weights.key', weights.key, keyWidth * hiddenSize);
  requireLength('weights.value', weights.value, keyWidth * hiddenSize);
  requireLength('weights.output', weights.output, hiddenSize * queryWidth);
  requireLength('weights.queryBias', weights.queryBias, queryWidth);
  requireLength('weights.keyBias', weights.keyBias, keyWidth);
  requireLength('weights.valueBias', weights.valueBias, keyWidth);
  requireLength('weights.outputBias', weights.outputBias, hiddenSize);
  if (statistics === undefined) return;
  requireLength('statistics.keySecondMoment', statistics.keySecondMoment, keyWidth ** 2);
  requireLength('statistics.rotatedKeySecondMoment', statistics.rotatedKeySecondMoment, keyWidth ** 2);
  requireLength('statistics.rotatedKeyMean', statistics.rotatedKeyMean, keyWidth);
  requireLength('statistics.valueSecondMoment', statistics.valueSecondMoment, keyWidth ** 2);
  requireLength('statistics.valueMean', statistics.valueMean, keyWidth);
  requireLength('statistics.querySecondMoment', statistics.querySecondMoment, queryWidth * headDim);
  requireLength('statistics.rotatedQuerySecondMoment', statistics.rotatedQuerySecondMoment, queryWidth * headDim);
}
