import { createNormalRandom } from '@kvlr/core';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { backend, zeros } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { createCacheFormat } from '../../cache/cache-format.ts';
import { encodeSlot, viewCache } from '../../cache/slot-codec.ts';
import { hostFloats, hostWords } from '../../host/host-heap.ts';
import { testedBackends, useBackend } from '../../testing/tested-backends.ts';
import { plainRowMath } from './row-math.ts';
import { vectorRowMath } from './vector-row-math.ts';

const count = 5;

it.each((['f16', 'int8', 'int4'] as const).flatMap((dtype) => [8, 12, 40, 72, 9].map((width) => ({ dtype, width }))))(
  'unpacks slots of $width numbers in $dtype as plain JavaScript does, bit for bit',
  async ({ dtype, width }) => {
    await testedBackends();
    await useBackend('wasm');
    const wasm = backend() as BackendWasm;
    const layout = { keys: 'stock', keySlots: 2, keySlotWidth: width, valueSlots: 1, valueSlotWidth: width } as const;
    const { entryWords, keySlotWords } = createCacheFormat(layout, dtype);
    const [words, rows] = [zeros([count, entryWords], 'int32'), zeros([count, width])];
    const cache = viewCache(hostWords(wasm, words));
    const normal = createNormalRandom(width);
    for (let n = 0; n < count; n++) {
      // From large numbers to such as only subnormal halves can scale.
      const numbers = Float32Array.from({ length: width }, () => 10 ** (2 - 2 * n) * normal());
      encodeSlot(cache, n * entryWords + keySlotWords, dtype, numbers, 0, width);
    }
    const slots = { cache, dtype, at: keySlotWords, stride: entryWords, width, count };
    const math = vectorRowMath(wasm);
    expect(math).not.toBe(plainRowMath);
    math.unpack(slots, hostFloats(wasm, rows));
    const expected = new Float32Array(count * width);
    plainRowMath.unpack(slots, expected);
    expect(expected.some((number) => number !== 0)).toBe(true);
    expect(hostFloats(wasm, rows)).toEqual(expected);
    words.dispose();
    rows.dispose();
  },
);
