import { builtInCodecs, fitSide } from '@kvlr/cache';
import {
  adaptedBitsOf,
  type CacheSide,
  cacheBlockWords,
  codedCacheBytes,
  createNormalRandom,
  stockLayout,
} from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { decodeAdaptedSlot, encodeAdaptedSlot } from './adapted-codec.ts';
import { createAdaptedFormat } from './adapted-format.ts';

const [slots, width] = [2, 12];
const layout = stockLayout(slots, width);
const normal = createNormalRandom(17);

function drawn(): Float64Array {
  const result = new Float64Array(slots * width * width);
  for (let slot = 0; slot < slots; slot++) {
    const factor = Float64Array.from({ length: width * width }, () => normal());
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) {
        let sum = i === j ? 0.5 : 0;
        for (let k = 0; k < width; k++) sum += (factor[i * width + k]! * factor[j * width + k]!) / width;
        result[(slot * width + i) * width + j] = sum;
      }
    }
  }
  return result;
}

const mean = Float64Array.from({ length: slots * width }, () => normal());
const statistics = { mean, covariance: drawn(), errorWeight: drawn() };

describe.each(['klt-4', 'klt-3', 'klt-2.5', 'klt-2', 'klt-1.5'] as const)('blocks in %s', (dtype) => {
  const fit = (side: CacheSide) => fitSide({ slots, width, layer: 0, side, statistics }, adaptedBitsOf(dtype)!);
  const format = createAdaptedFormat(layout, dtype, { keys: fit('keys'), values: fit('values') });

  it('give the numbers of the codec that is a function of numbers, and touch no other word', () => {
    const rows = Float32Array.from({ length: 32 * slots * width }, () => normal());
    const words = new Int32Array(format.blockWords + 2).fill(5);
    for (const side of ['keys', 'values'] as const) {
      const codec = builtInCodecs[dtype][side].create({ slots, width, layer: 0, side, statistics });
      const expected = codec.decode(codec.encode(rows, 32), 32);
      for (let slot = 0; slot < slots; slot++) {
        const ofSlot = (all: Float32Array) =>
          Float32Array.from({ length: 32 * width }, (_, i) => {
            return all[(Math.floor(i / width) * slots + slot) * width + (i % width)]!;
          });
        encodeAdaptedSlot(words, 1, format, [side, slot], ofSlot(rows));
        const received = new Float32Array(32 * width);
        decodeAdaptedSlot(words, 1, format, [side, slot], received);
        ofSlot(expected).forEach((x, i) => {
          expect(Math.abs(received[i]! - x)).toBeLessThan(1e-4);
        });
      }
    }
    expect([words[0], words.at(-1)]).toEqual([5, 5]);
  });

  it('take the bytes that the codec promises', () => {
    const cache = { codec: builtInCodecs[dtype], window: 0, first: 0 };
    expect(4 * cacheBlockWords(layout, dtype)).toBe(codedCacheBytes({ layers: [{ cache: layout }] }, cache, 32));
    expect(format.blockWords).toBe(cacheBlockWords(layout, dtype));
  });
});
