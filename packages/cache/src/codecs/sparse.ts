import { type CacheCodec, KvlrError, type SideFormat, type SideRequest, type SlotShape } from '@kvlr/core';
import { learnDictionary, matchingPursuit } from '../numbers/dictionary.ts';
import { decodeFloat8, toFloat8 } from './floats.ts';

/** Atoms of a dictionary. The paper has 4,096 for heads of 128. */
const atoms = 512;

/**
 * Lexico (arXiv 2412.08890): a slot of a token is a sum of few atoms of a dictionary that a layer's keys share, and one that its values share,
 * found by orthogonal matching pursuit. Of each atom the place, 16 bits, and the coefficient, E4M3; slots begin at whole words.
 *
 * The dictionary is learnt on samples of calibration text; here by alternation of pursuit and least squares.
 */
function sparseSlots(sparsity: number): SideFormat {
  const slotBytes = 4 * Math.ceil((3 * sparsity) / 4);
  return {
    blockTokens: 1,
    keys: 'rotated',
    needsStatistics: true,
    needsSamples: true,
    byteLength: ({ slots }, tokens) => tokens * slots * slotBytes,
    tableBytes: ({ width }: SlotShape) => 4 * atoms * width,
    create(request) {
      const { slots, width } = request;
      const dictionary = learnDictionary(samplesOf(request), { atoms, width, sparsity });
      return {
        encode(rows, tokens) {
          const bytes = new Uint8Array(tokens * slots * slotBytes);
          const view = new DataView(bytes.buffer);
          for (let slot = 0; slot < tokens * slots; slot++) {
            const x = rows.subarray(slot * width, (slot + 1) * width);
            const { places, coefficients } = matchingPursuit(dictionary, x, sparsity);
            places.forEach((place, i) => {
              view.setUint16(slot * slotBytes + 2 * i, place, true);
              bytes[slot * slotBytes + 2 * sparsity + i] = toFloat8(coefficients[i]!);
            });
          }
          return bytes;
        },
        decode(bytes, tokens) {
          const rows = new Float32Array(tokens * slots * width);
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
          for (let slot = 0; slot < tokens * slots; slot++) {
            for (let i = 0; i < sparsity; i++) {
              const coefficient = decodeFloat8(bytes[slot * slotBytes + 2 * sparsity + i]!);
              if (coefficient === 0) continue;
              const atom = view.getUint16(slot * slotBytes + 2 * i, true) * width;
              for (let c = 0; c < width; c++) rows[slot * width + c]! += coefficient * dictionary.atoms[atom + c]!;
            }
          }
          return rows;
        },
      };
    },
  };
}

function samplesOf({ statistics, layer, side }: SideRequest): Float32Array {
  const samples = statistics?.samples;
  if (samples !== undefined && samples.length > 0) return samples;
  throw new KvlrError('invalid-argument', {
    message: 'expected statistics with samples of the layer for a codec that learns a dictionary of them, got none',
    hint: 'Pass samples of calibration text, or choose a codec that needs none.',
    where: { layer, argument: side },
  });
}

const lexico = (sparsity: number): CacheCodec => {
  const side = sparseSlots(sparsity);
  return { title: `sums of ${sparsity} atoms of a dictionary`, source: 'arXiv 2412.08890', keys: side, values: side };
};

/** Sparse sums over a dictionary. */
export const sparseCodecs = { 'lexico-8': lexico(8), 'lexico-4': lexico(4) };
