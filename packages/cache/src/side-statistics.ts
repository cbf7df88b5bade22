import {
  type AttentionWeights,
  type CacheSide,
  type DecoderShape,
  type LayerStatistics,
  layerRope,
  type SideFormat,
  type SideStatistics,
  slotsOfSide,
} from '@kvlr/core';

/** What `sideStatistics` reads: one layer of a model with ordinary heads. */
export interface SideStatisticsRequest {
  shape: DecoderShape;
  layer: number;
  side: CacheSide;
  /** The keys that the format stores. */
  keys: SideFormat['keys'];
  statistics: LayerStatistics;
  weights: Pick<AttentionWeights, 'output'>;
}

/** Mean, covariance and error weight of the slots of one side, from the second moments of calibration and the output projection. */
export function sideStatistics(request: SideStatisticsRequest): SideStatistics {
  const { shape, layer, side, keys, statistics } = request;
  const { slots, width } = slotsOfSide(shape.layers[layer]!.cache, side);
  const [moment, mean] =
    side === 'values'
      ? [statistics.valueSecondMoment, statistics.valueMean]
      : keys === 'projected'
        ? [statistics.keySecondMoment, statistics.keyMean]
        : [statistics.rotatedKeySecondMoment, statistics.rotatedKeyMean];
  const covariance = new Float64Array(slots * width * width);
  for (let slot = 0; slot < slots; slot++) {
    for (let i = 0; i < width; i++) {
      const row = slot * width + i;
      for (let j = 0; j < width; j++) {
        const column = slot * width + j;
        covariance[row * width + j] = moment[row * slots * width + column]! - mean[row]! * mean[column]!;
      }
    }
  }
  if (side === 'values') return { mean: mean.slice(), covariance, errorWeight: outputWeight(request) };
  return {
    ...{ mean: mean.slice(), covariance },
    ...{ errorWeight: queryEnergy(request), queryMoment: queryMoment(request) },
  };
}

/** Sum over the query heads of a value slot of W_o^T W_o, [slots, width, width]. */
function outputWeight({ shape, layer, weights: { output } }: SideStatisticsRequest): Float64Array {
  const { numAttentionHeads: heads, hiddenSize } = shape;
  const { valueSlots: slots, valueSlotWidth: width } = shape.layers[layer]!.cache;
  const columns = heads * width;
  const result = new Float64Array(slots * width * width);
  for (let head = 0; head < heads; head++) {
    const slot = Math.floor((head * slots) / heads);
    for (let row = 0; row < hiddenSize; row++) {
      const from = row * columns + head * width;
      for (let i = 0; i < width; i++) {
        const x = output[from + i]!;
        const to = (slot * width + i) * width;
        for (let j = 0; j < width; j++) result[to + j]! += x * output[from + j]!;
      }
    }
  }
  return result;
}

/**
 * What an error of each number of a key costs in squared scores: the energy of the queries that read it, summed over the query heads of
 * the slot; of a rotating pair, the mean of its two. Diagonal, [slots, width, width].
 */
function queryEnergy({ shape, layer, keys, statistics }: SideStatisticsRequest): Float64Array {
  const { numAttentionHeads: heads } = shape;
  const { keySlots: slots, keySlotWidth: width } = shape.layers[layer]!.cache;
  const moment = keys === 'projected' ? statistics.querySecondMoment : statistics.rotatedQuerySecondMoment;
  const partner = rotationPartners(shape, layer, width);
  const result = new Float64Array(slots * width * width);
  for (let head = 0; head < heads; head++) {
    const slot = Math.floor((head * slots) / heads);
    const energy = (i: number) => moment[(head * width + i) * width + i]!;
    for (let i = 0; i < width; i++) result[(slot * width + i) * width + i]! += (energy(i) + energy(partner[i]!)) / 2;
  }
  return result;
}

/** Sum over the query heads of a key slot of their second moments, [slots, width, width]. */
function queryMoment({ shape, layer, keys, statistics }: SideStatisticsRequest): Float64Array {
  const { numAttentionHeads: heads } = shape;
  const { keySlots: slots, keySlotWidth: width } = shape.layers[layer]!.cache;
  const moment = keys === 'projected' ? statistics.querySecondMoment : statistics.rotatedQuerySecondMoment;
  const size = width * width;
  const result = new Float64Array(slots * size);
  for (let head = 0; head < heads; head++) {
    const slot = Math.floor((head * slots) / heads);
    for (let i = 0; i < size; i++) result[slot * size + i]! += moment[head * size + i]!;
  }
  return result;
}

/** The number that each number of a head rotates with; itself where it does not rotate. */
export function rotationPartners(shape: DecoderShape, layer: number, width: number): number[] {
  const partners = Array.from({ length: width }, (_, i) => i);
  const rope = layerRope(shape, layer);
  if (rope === undefined) return partners;
  const { rotaryDim, pairs } = rope;
  const pairCount = rotaryDim / 2;
  for (let i = 0; i < rotaryDim; i++) {
    partners[i] = pairs === 'interleaved' ? i ^ 1 : (i + pairCount) % rotaryDim;
  }
  return partners;
}
