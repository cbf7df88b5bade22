import { type CacheCodec, KvlrError, type SideFormat, type SideRequest, type SlotShape } from '@kvlr/core';
import { createMatrix, eigSymmetric, type Matrix, multiply, symmetricPower } from '@kvlr/linalg';
import { BitReader, BitWriter, bytesOf, wordsOf } from '../numbers/bit-codes.ts';
import { type GaussianLevels, gaussianLevels, nearestLevel } from '../numbers/gaussian-levels.ts';

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

/** Transform coding of one side: every slot in its adapted basis, each number there in as many bits as it is worth. No scales. */
function adaptedSlots(bitsPerNumber: number): SideFormat {
  const wordsOfToken = ({ slots, width }: SlotShape) => Math.ceil((bitsPerNumber * slots * width) / 32);
  return {
    blockTokens: 1,
    keys: 'projected',
    needsStatistics: true,
    byteLength: (shape, tokens) => 4 * tokens * wordsOfToken(shape),
    tableBytes: ({ slots, width }) => slots * width * (4 * (width + 2) + 1),
    create(request) {
      const { slots, width } = request;
      const { mean, bases } = basesOf(request);
      const variances = Float64Array.from({ length: slots * width }, (_, i) => {
        return bases[Math.floor(i / width)]!.variances[i % width]!;
      });
      const bits = spreadBits(variances, Math.floor(bitsPerNumber * slots * width));
      const deviations = variances.map(Math.sqrt);
      const quantisers = Array.from(bits, (count): GaussianLevels => gaussianLevels(count));
      const step = wordsOfToken(request);
      const y = new Float64Array(width);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array(tokens * step);
          for (let token = 0; token < tokens; token++) {
            const writer = new BitWriter(words, token * step);
            for (let slot = 0; slot < slots; slot++) {
              const from = (token * slots + slot) * width;
              const { data } = bases[slot]!.forward;
              y.fill(0);
              for (let i = 0; i < width; i++) {
                const x = rows[from + i]! - mean[slot * width + i]!;
                for (let c = 0; c < width; c++) y[c]! += x * data[i * width + c]!;
              }
              for (let c = 0; c < width; c++) {
                const channel = slot * width + c;
                if (bits[channel] === 0) continue;
                writer.write(nearestLevel(quantisers[channel]!, y[c]! / deviations[channel]!), bits[channel]!);
              }
            }
            writer.finish();
          }
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const rows = new Float32Array(tokens * slots * width);
          for (let token = 0; token < tokens; token++) {
            const reader = new BitReader(words, token * step);
            for (let slot = 0; slot < slots; slot++) {
              for (let c = 0; c < width; c++) {
                const channel = slot * width + c;
                const count = bits[channel]!;
                y[c] = count === 0 ? 0 : deviations[channel]! * quantisers[channel]!.levels[reader.read(count)]!;
              }
              const to = (token * slots + slot) * width;
              const { data } = bases[slot]!.backward;
              for (let i = 0; i < width; i++) {
                let x = mean[slot * width + i]!;
                for (let c = 0; c < width; c++) x += data[i * width + c]! * y[c]!;
                rows[to + i] = x;
              }
            }
          }
          return rows;
        },
      };
    },
  };
}

function basesOf({ slots, width, statistics, layer, side }: SideRequest) {
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
  return { mean, bases };
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
