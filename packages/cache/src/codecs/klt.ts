import { type CacheCodec, KvlrError, type SideFormat, type SideRequest, type SlotShape } from '@kvlr/core';
import { createMatrix, eigSymmetric, type Matrix, multiply, symmetricPower } from '@kvlr/linalg';
import { bytesOf, packCodes, unpackCodes, wordsOf } from '../numbers/bit-codes.ts';
import { gaussianLevels, nearestLevel } from '../numbers/gaussian-levels.ts';
import { BLOCK } from './channel.ts';

const MOST_BITS = 8;

/** A change of basis of one slot in which its numbers are uncorrelated and their errors weigh independently. */
export interface AdaptedBasis {
  /** M, [width, width]: the slot in the new basis is M^T (x - mean). */
  forward: Matrix;
  /** M^-T: x = mean + M^-T y. */
  backward: Matrix;
  /** Variance of each number in the new basis, descending; a squared error there costs as much. */
  variances: Float64Array;
}

/**
 * The basis for covariance C and error weight B, both [width, width]: with A = C^-1/2 (C^1/2 B C^1/2)^1/2 C^-1/2 and M = A^1/2 U, U the
 * eigenvectors of A^1/2 C A^1/2, M^T C M = M^-1 B M^-T is the diagonal of variances. A is the geometric mean of C^-1 and B; with B = 1 up
 * to scale, it is the Karhunen-Loeve transform.
 */
export function adaptedBasis(covariance: Matrix, errorWeight: Matrix): AdaptedBasis {
  const root = symmetricPower(covariance, 0.5);
  const inverseRoot = symmetricPower(covariance, -0.5);
  const middle = symmetricPower(product(root, errorWeight, root), 0.5);
  const mean = product(inverseRoot, middle, inverseRoot);
  const meanRoot = symmetricPower(mean, 0.5);
  const { values, vectors } = eigSymmetric(product(meanRoot, covariance, meanRoot));
  return {
    forward: multiply(meanRoot, vectors),
    backward: multiply(symmetricPower(mean, -0.5), vectors),
    variances: values.map((value) => Math.max(0, value)),
  };
}

function product(first: Matrix, second: Matrix, third: Matrix): Matrix {
  const { rows, cols, data } = multiply(multiply(first, second), third);
  // Symmetric but for rounding.
  return createMatrix(
    rows,
    cols,
    data.map((value, place) => (value + data[(place % cols) * cols + Math.floor(place / cols)]!) / 2),
  );
}

/**
 * Bits of each channel, 0 to 8, `total` in all: one at a time to the channel whose expected cost falls most, variance^2 D(bits), D the
 * distortion of `gaussianLevels`.
 */
export function spreadBits(variances: Float64Array, total: number): Uint8Array {
  const bits = new Uint8Array(variances.length);
  const gain = (channel: number) => {
    const given = bits[channel]!;
    if (given === MOST_BITS) return -1;
    return variances[channel]! ** 2 * (gaussianLevels(given).distortion - gaussianLevels(given + 1).distortion);
  };
  const gains = Float64Array.from(variances, (_, channel) => gain(channel));
  for (let left = Math.min(total, MOST_BITS * variances.length); left > 0; left--) {
    let best = 0;
    for (let channel = 1; channel < gains.length; channel++) if (gains[channel]! > gains[best]!) best = channel;
    bits[best]!++;
    gains[best] = gain(best);
  }
  return bits;
}

/** One side of a layer in its adapted bases. */
export interface FittedSide {
  /** [slots, width] */
  mean: Float64Array;
  /** Of each slot. */
  bases: readonly AdaptedBasis[];
  /** Of each number in the new basis, 0 to 8, [slots, width]. */
  bits: Uint8Array;
}

/**
 * Bases and bits of one side, `bitsPerNumber` on average over all of its slots.
 *
 * @throws KvlrError 'invalid-argument' without statistics.
 */
export function fitSide({ slots, width, statistics, layer, side }: SideRequest, bitsPerNumber: number): FittedSide {
  if (statistics === undefined) {
    throw new KvlrError('invalid-argument', {
      message: 'expected statistics of the layer for a codec that adapts to them, got none',
      hint: 'Pass what calibration knows of the layer, or choose a codec that needs no statistics.',
      where: { layer, argument: side },
    });
  }
  const { mean, covariance, errorWeight } = statistics;
  const size = width * width;
  const bases = Array.from({ length: slots }, (_, slot) => {
    const part = (of: Float64Array) => createMatrix(width, width, of.slice(slot * size, (slot + 1) * size));
    return adaptedBasis(part(covariance), part(errorWeight));
  });
  const variances = Float64Array.from({ length: slots * width }, (_, i) => {
    return bases[Math.floor(i / width)]!.variances[i % width]!;
  });
  return { mean, bases, bits: spreadBits(variances, Math.floor(bitsPerNumber * slots * width)) };
}

/**
 * Transform coding of one side: every slot in its adapted basis, each number there in as many bits as it is worth. No scales. A block of 32
 * tokens is one channel behind another, each as many words as it has bits.
 */
function adaptedSlots(bitsPerNumber: number): SideFormat {
  const wordsOfBlock = ({ slots, width }: SlotShape) => Math.floor(bitsPerNumber * slots * width);
  return {
    blockTokens: BLOCK,
    keys: 'projected',
    needsStatistics: true,
    byteLength: (shape, tokens) => 4 * (tokens / BLOCK) * wordsOfBlock(shape),
    tableBytes: ({ slots, width }) => slots * width * (4 * (2 * width + 1) + 4),
    create(request) {
      const { slots, width } = request;
      const channels = slots * width;
      const { mean, bases, bits } = fitSide(request, bitsPerNumber);
      const deviations = Float64Array.from({ length: channels }, (_, channel) => {
        return Math.sqrt(bases[Math.floor(channel / width)]!.variances[channel % width]!);
      });
      const step = wordsOfBlock(request);
      const codes = new Uint8Array(BLOCK);
      /** One slot of a block in its basis, [width, 32]. */
      const turned = new Float64Array(width * BLOCK);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array((tokens / BLOCK) * step);
          let at = 0;
          for (let first = 0; first < tokens; first += BLOCK) {
            for (let slot = 0; slot < slots; slot++) {
              const { data } = bases[slot]!.forward;
              turned.fill(0);
              for (let t = 0; t < BLOCK; t++) {
                const from = (first + t) * channels + slot * width;
                for (let i = 0; i < width; i++) {
                  const x = rows[from + i]! - mean[slot * width + i]!;
                  for (let c = 0; c < width; c++) turned[c * BLOCK + t]! += x * data[i * width + c]!;
                }
              }
              for (let c = 0; c < width; c++) {
                const channel = slot * width + c;
                const count = bits[channel]!;
                if (count === 0) continue;
                const quantiser = gaussianLevels(count);
                for (let t = 0; t < BLOCK; t++) {
                  codes[t] = nearestLevel(quantiser, turned[c * BLOCK + t]! / deviations[channel]!);
                }
                packCodes(codes, count, words, at);
                at += count;
              }
            }
          }
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const rows = new Float32Array(tokens * channels);
          const row = new Float64Array(width);
          let at = 0;
          for (let first = 0; first < tokens; first += BLOCK) {
            for (let slot = 0; slot < slots; slot++) {
              for (let c = 0; c < width; c++) {
                const channel = slot * width + c;
                const count = bits[channel]!;
                if (count > 0) unpackCodes(words, at, count, codes);
                const { levels } = gaussianLevels(count);
                for (let t = 0; t < BLOCK; t++) {
                  turned[c * BLOCK + t] = count === 0 ? 0 : deviations[channel]! * levels[codes[t]!]!;
                }
                at += count;
              }
              const { data } = bases[slot]!.backward;
              for (let t = 0; t < BLOCK; t++) {
                row.set(mean.subarray(slot * width, (slot + 1) * width));
                for (let c = 0; c < width; c++) {
                  const y = turned[c * BLOCK + t]!;
                  for (let i = 0; i < width; i++) row[i]! += data[i * width + c]! * y;
                }
                rows.set(row, (first + t) * channels + slot * width);
              }
            }
          }
          return rows;
        },
      };
    },
  };
}

const klt = (bits: number): CacheCodec => {
  const side = adaptedSlots(bits);
  return { title: `bits by covariance and attention, ${bits} of each number on average`, keys: side, values: side };
};

/** Transform coding by what calibration knows of each layer; the mean number of bits is in the name. */
export const kltCodecs = {
  'klt-4': klt(4),
  'klt-3': klt(3),
  'klt-2.5': klt(2.5),
  'klt-2': klt(2),
  'klt-1.5': klt(1.5),
};
