import { type CacheCodec, KvlrError, type SideFormat, type SideRequest } from '@kvlr/core';
import { cholesky, createMatrix, eigSymmetric, identity, type Matrix, solveCholesky } from '@kvlr/linalg';
import { bytesOf, packCodes } from '../numbers/bit-codes.ts';
import { affineScale } from './affine.ts';
import { BLOCK, channelBlocks, tokenGroups } from './channel.ts';

/** Share of a head's directions that are the queries' subspace, and what an error within it weighs against one outside. */
const rankShare = 1 / 4;
const weightOfSubspace = 10;

/**
 * SQuat (arXiv 2503.24358): keys by channel as in KIVI, one channel after another; what a channel loses is made up for in the channels that
 * come after it, so that the error of a key stays orthogonal to the subspace of the queries. With e the error of a key and P the directions
 * of largest energy of the queries, e^T (1 + w P^T P) e is least for the channels that are still free.
 */
function subspaceBlocks(bits: number): SideFormat {
  const plain = channelBlocks(bits, 'rotated');
  const most = 2 ** bits - 1;
  return {
    ...plain,
    needsStatistics: true,
    create(request) {
      const { slots, width } = request;
      const updates = Array.from({ length: slots }, (_, slot) => errorFeedback(subspaceWeight(request, slot)));
      const channels = slots * width;
      const codes = new Uint8Array(BLOCK);
      return {
        decode: plain.create(request).decode,
        encode(rows, tokens) {
          const words = new Uint32Array((tokens / BLOCK) * channels * (1 + bits));
          let at = 0;
          for (let first = 0; first < tokens; first += BLOCK) {
            for (let slot = 0; slot < slots; slot++) {
              const { data: feedback } = updates[slot]!;
              // One channel behind another, [width, BLOCK].
              const block = new Float64Array(width * BLOCK);
              for (let t = 0; t < BLOCK; t++) {
                const from = (first + t) * channels + slot * width;
                for (let c = 0; c < width; c++) block[c * BLOCK + t] = rows[from + c]!;
              }
              for (let c = 0; c < width; c++, at += 1 + bits) {
                const column = block.subarray(c * BLOCK, (c + 1) * BLOCK);
                const { scale, offset, word } = affineScale(Math.min(...column), Math.max(...column), most);
                words[at] = word;
                const inverse = scale > 0 ? 1 / scale : 0;
                for (let t = 0; t < BLOCK; t++) {
                  codes[t] = Math.max(0, Math.min(most, Math.round((column[t]! - offset) * inverse)));
                  const lost = column[t]! - (offset + scale * codes[t]!);
                  for (let j = c + 1; j < width; j++) block[j * BLOCK + t]! -= lost * feedback[c * width + j]!;
                }
                packCodes(codes, bits, words, at + 1);
              }
            }
          }
          return bytesOf(words);
        },
      };
    },
  };
}

/** 1 + w P^T P of one slot, the directions P each weighted by its share of the queries' mean energy. */
function subspaceWeight({ width, statistics, layer, side }: SideRequest, slot: number): Matrix {
  const moment = statistics?.queryMoment;
  if (moment === undefined) {
    throw new KvlrError('invalid-argument', {
      message: 'expected the second moment of the queries for a codec that keeps errors orthogonal to them, got none',
      hint: 'Pass what calibration knows of the layer, or choose a codec that needs no statistics.',
      where: { layer, argument: side },
    });
  }
  const size = width * width;
  const { values, vectors } = eigSymmetric(createMatrix(width, width, moment.slice(slot * size, (slot + 1) * size)));
  const mean = values.reduce((sum, value) => sum + Math.max(0, value), 0) / width;
  const weight = identity(width);
  for (let direction = 0; direction < Math.ceil(rankShare * width) && mean > 0; direction++) {
    const factor = (weightOfSubspace * Math.max(0, values[direction]!)) / mean;
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) {
        const outer = vectors.data[i * width + direction]! * vectors.data[j * width + direction]!;
        weight.data[i * width + j]! += factor * outer;
      }
    }
  }
  return weight;
}

/**
 * What an error of channel c adds to each later channel j, row by row: with H the weight, the free channels that make e^T H e least for a
 * fixed e_c, when all before c are done. Rows of the upper Cholesky factor of H^-1 over their diagonals.
 */
export function errorFeedback(weight: Matrix): Matrix {
  const { rows: width } = weight;
  const inverse = solveCholesky(cholesky(weight), identity(width));
  // inverse = U^T U with U upper: its transpose is the lower factor.
  const { data: lower } = cholesky(inverse);
  const feedback = createMatrix(width, width);
  for (let c = 0; c < width; c++) {
    for (let j = c; j < width; j++) feedback.data[c * width + j] = lower[j * width + c]! / lower[c * width + c]!;
  }
  return feedback;
}

const squat = (bits: number): CacheCodec => ({
  title: `keys per channel, errors orthogonal to the queries, ${bits} bits`,
  source: 'arXiv 2503.24358',
  keys: subspaceBlocks(bits),
  values: tokenGroups(bits),
});

/** Keys by channel whose errors queries do not see. */
export const subspaceCodecs = { 'squat-4': squat(4), 'squat-2': squat(2) };
