import { createNormalRandom } from '@kvlr/core';
import { expectClose } from '@kvlr/testkit';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { backend, tensor1d, zeros } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { createCacheFormat } from '../cache/cache-format.ts';
import { encodeSlot, viewCache } from '../cache/slot-codec.ts';
import { hostFloats, hostWords } from '../tensors.ts';
import { testedBackends, useBackend } from '../testing/tested-backends.ts';
import { plainRowMath, SPARE_SCORES } from './row-math.ts';
import { vectorRowMath } from './row-math-wasm.ts';

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

it.each([4, 12, 32, 72])('scores rows of %i numbers and adds them up as plain JavaScript does', async (width) => {
  await testedBackends();
  await useBackend('wasm');
  const wasm = backend() as BackendWasm;
  const normal = createNormalRandom(width);
  const stride = width + 3;
  const numbersOf = (count: number) => tensor1d(Float32Array.from({ length: count }, () => normal()));
  const tensors = [numbersOf(width), numbersOf(8 * stride), zeros([8]), zeros([width])] as const;
  // Uploaded first: views come after the last allocation.
  const [query, numbers, scores, result] = tensors.map((each) => hostFloats(wasm, each)) as Float32Array[];
  // Whole rounds of rows, none, and some that are left over.
  for (const count of [4, 3, 7, 1]) {
    const rows = { numbers: numbers!, at: stride, stride, width, count };
    const [expectedScores, expected] = [new Float32Array(8), Float32Array.from(result!)];
    plainRowMath.score(query!, 0, rows, expectedScores, 0);
    vectorRowMath(wasm).score(query!, 0, rows, scores!, 0);
    expectClose(scores!.subarray(0, rows.count), expectedScores.subarray(0, rows.count), 1e-5);
    plainRowMath.add(scores!, 0, rows, expected, 0);
    vectorRowMath(wasm).add(scores!, 0, rows, result!, 0);
    expectClose(result!, expected, 1e-4);
  }
  for (const each of tensors) each.dispose();
});

it('exponentiates scores as plain JavaScript does, however far below the highest they are', async () => {
  await testedBackends();
  await useBackend('wasm');
  const wasm = backend() as BackendWasm;
  const highest = Math.fround(3.7);
  const given = Float32Array.from({ length: 67 + SPARE_SCORES }, (_, n) => highest - (n % 2 === 0 ? n / 7 : 1.5 * n));
  const tensor = tensor1d(given);
  const scores = hostFloats(wasm, tensor);
  for (const [first, end] of [
    [0, 3],
    [3, 5],
    [5, 67],
  ] as const) {
    const expected = Float32Array.from(given);
    const total = plainRowMath.exponentiate(expected, first, end, highest);
    expect(vectorRowMath(wasm).exponentiate(scores, first, end, highest) / total).toBeCloseTo(1, 6);
    // A difference of single precision is less exact the greater it is.
    for (let n = first; n < end; n++)
      expect(Math.abs(scores[n]! - expected[n]!)).toBeLessThan(5e-6 * expected[n]! + 1e-37);
  }
  tensor.dispose();
});
