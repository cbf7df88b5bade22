import { type AttentionWeights, type DecoderShape, KvlrError, type LayerStatistics, layerRope } from '@kvlr/core';

/** A layer with ordinary heads, and what its block reads. */
export interface KeyScaleRequest {
  shape: DecoderShape;
  layer: number;
  weights: AttentionWeights;
  statistics: Pick<LayerStatistics, 'inputSecondMoment' | 'inputMean'>;
}

/**
 * The same attention with keys whose numbers are as large, to each other, as the queries that read them: every pair of numbers that rotates
 * together is multiplied by s_j = (E|q_j|^2 / E|k_j|^2)^(1/4) in the keys of a KV head, of geometric mean 1 over the head, and divided by it
 * in its queries. A positive factor of a pair commutes with RoPE, so scores are the same up to rounding; caches that store keys in blocks
 * with one scale then lose the least of the scores' expected squares. The energies are those of the projections on the calibration text.
 *
 * @throws KvlrError 'unsupported-feature' where a norm or a clip stands behind the projections, or keys are not ordinary heads.
 */
export function balanceKeyScales({ shape, layer, weights, statistics }: KeyScaleRequest): AttentionWeights {
  const { attention, headDim, hiddenSize, numAttentionHeads } = shape;
  const { cache } = shape.layers[layer]!;
  requireFreeScales(shape, layer);
  const slots = cache.keySlots;
  const queriesOfSlot = numAttentionHeads / slots;
  const pairs = rotatingPairs(shape, layer);
  const result: AttentionWeights = { ...weights, query: weights.query.slice(), key: weights.key.slice() };
  if (attention.inputBias) {
    result.queryBias = weights.queryBias?.slice();
    result.keyBias = weights.keyBias?.slice();
  }
  const multiply = (matrix: Float64Array, bias: Float64Array | undefined, row: number, factor: number) => {
    for (let i = row * hiddenSize; i < (row + 1) * hiddenSize; i++) matrix[i]! *= factor;
    if (bias) bias[row]! *= factor;
  };
  const queryEnergies = rowEnergies(weights.query, weights.queryBias, statistics, hiddenSize);
  const keyEnergies = rowEnergies(weights.key, weights.keyBias, statistics, hiddenSize);
  for (let slot = 0; slot < slots; slot++) {
    const queryRows = Array.from({ length: queriesOfSlot }, (_, i) => (slot * queriesOfSlot + i) * headDim);
    const logarithms = pairs.map((pair) => {
      const energy = (energies: Float64Array, start: number) => pair.reduce((sum, j) => sum + energies[start + j]!, 0);
      const ofQueries = queryRows.reduce((sum, start) => sum + energy(queryEnergies, start), 0) / queriesOfSlot;
      const ofKeys = energy(keyEnergies, slot * headDim);
      return ofQueries > 0 && ofKeys > 0 ? Math.log(ofQueries / ofKeys) / 4 : 0;
    });
    const mean = logarithms.reduce((sum, value, i) => sum + value * pairs[i]!.length, 0) / headDim;
    for (const [i, pair] of pairs.entries()) {
      const scale = Math.exp(logarithms[i]! - mean);
      for (const j of pair) {
        multiply(result.key, result.keyBias, slot * headDim + j, scale);
        for (const start of queryRows) multiply(result.query, result.queryBias, start + j, 1 / scale);
      }
    }
  }
  return result;
}

/** Throws where scales of keys cannot be folded into the projections. */
function requireFreeScales({ attention, layers, headDim }: DecoderShape, layer: number): void {
  const { cache } = layers[layer]!;
  const between = attention.queryKeyNorm ? 'a norm' : attention.clip === undefined ? undefined : 'a clip';
  if (between === undefined && cache.keys === 'stock' && cache.keySlotWidth === headDim) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected ordinary keys straight from their projection, got ${between ? `${between} behind it` : `${cache.keys} keys`}`,
    hint: 'Leave the scales of keys as they are for this model.',
    where: { layer },
  });
}

/** The numbers of a head that must keep their ratio: those that rotate together, and each of the others alone. */
function rotatingPairs(shape: DecoderShape, layer: number): number[][] {
  const rope = layerRope(shape, layer);
  const rotating = rope?.rotaryDim ?? 0;
  const pairs = Array.from({ length: rotating / 2 }, (_, j) =>
    rope?.pairs === 'interleaved' ? [2 * j, 2 * j + 1] : [j, j + rotating / 2],
  );
  return [...pairs, ...Array.from({ length: shape.headDim - rotating }, (_, i) => [rotating + i])];
}

/** E[(w x + b)^2] of every row w of a projection, from the moments of its input x. */
function rowEnergies(
  matrix: Float64Array,
  bias: Float64Array | undefined,
  { inputSecondMoment, inputMean }: KeyScaleRequest['statistics'],
  hiddenSize: number,
): Float64Array {
  return Float64Array.from({ length: matrix.length / hiddenSize }, (_, row) => {
    const start = row * hiddenSize;
    const offset = bias?.[row] ?? 0;
    let energy = offset * offset;
    for (let i = 0; i < hiddenSize; i++) {
      let inner = 2 * offset * inputMean[i]!;
      for (let j = 0; j < hiddenSize; j++) inner += inputSecondMoment[i * hiddenSize + j]! * matrix[start + j]!;
      energy += matrix[start + i]! * inner;
    }
    return Math.max(0, energy);
  });
}
