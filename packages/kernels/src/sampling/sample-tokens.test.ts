import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { memory, tensor2d } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { kernelCounters } from '../fused-kernel.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { type SampleTokensSettings, sampleTokens, type TokenHistory } from './sample-tokens.ts';
import { keyOfStep, sampleRow } from './sampling-host.ts';

const vocabulary = 600;
const batch = 3;

function randomLogits(seed: number): Float32Array {
  const normal = createNormalRandom(seed);
  return Float32Array.from({ length: batch * vocabulary }, () => 3 * normal());
}

async function sampled(
  values: Float32Array,
  settings: SampleTokensSettings,
  history?: TokenHistory,
): Promise<number[]> {
  return withoutGpuErrors(async () => {
    const logits = tensor2d(values, [values.length / vocabulary, vocabulary]);
    const tokens = sampleTokens(logits, settings, history);
    const data = await tokens.data();
    for (const each of [logits, tokens]) each.dispose();
    return Array.from(data);
  });
}

/** Softmax at a temperature, limited by sorting: topK, then the fewest that reach topP. Zero for all others. */
function limitedSoftmax(logits: Float32Array, temperature: number, topK: number, topP: number): Float64Array {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!);
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit / temperature));
  const among = topK > 0 ? order.slice(0, topK) : order;
  const total = among.reduce((sum, token) => sum + weights[token]!, 0);
  const kept: number[] = [];
  for (let mass = 0; mass < topP * total; ) {
    kept.push(among[kept.length]!);
    mass += weights[kept[kept.length - 1]!]!;
  }
  const keptTotal = kept.reduce((sum, token) => sum + weights[token]!, 0);
  return weights.map((weight, token) => (kept.includes(token) ? weight / keptTotal : 0));
}

describe('the sampled tokens', () => {
  it.each([
    [1, 0, 1],
    [0.7, 4, 1],
    [1.3, 0, 0.6],
    [0.9, 12, 0.8],
  ])('follow the limited softmax: temperature %d, topK %d, topP %d', (temperature, topK, topP) => {
    const normal = createNormalRandom(5);
    const logits = Float32Array.from({ length: 20 }, () => 1.5 * normal());
    const counts = new Float64Array(20);
    const count = 20_000;
    const settings = { temperature, topK, topP, repetitionPenalty: 1, length: 0 };
    for (let step = 0; step < count; step++)
      counts[sampleRow(logits, { ...settings, stepKey: keyOfStep(9, step) }, 0)]!++;
    const expected = limitedSoftmax(logits, temperature, topK, topP);
    counts.forEach((times, token) => {
      const deviation = Math.sqrt(count * expected[token]! * (1 - expected[token]!));
      expect(Math.abs(times - count * expected[token]!)).toBeLessThanOrEqual(5 * deviation);
    });
  });

  it('differ between rows, steps and seeds', () => {
    const logits = new Float32Array(1000);
    const sample = (seed: number, step: number, row: number) => {
      const settings = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1, length: 0 };
      return sampleRow(logits, { ...settings, stepKey: keyOfStep(seed, step) }, row);
    };
    const tokens = [0, 1, 2].flatMap((seed) =>
      [0, 1, 2].flatMap((step) => [0, 1].map((row) => sample(seed, step, row))),
    );
    expect(new Set(tokens).size).toBeGreaterThan(15);
  });
});

for (const { backend, skip } of await testedBackends()) {
  describe.skipIf(skip)(`on ${backend}${skip ? `: ${skip}` : ''}`, () => {
    it('takes the greatest logit, the lowest id of equals', async () => {
      await useBackend(backend);
      const values = randomLogits(1);
      values[17] = 50;
      values[400] = 50;
      values[vocabulary + 599] = 50;
      const rows = [0, 1, 2].map((row) => values.subarray(row * vocabulary, (row + 1) * vocabulary));
      kernelCounters.reset();
      expect(await sampled(values, {})).toEqual([17, 599, rows[2]!.indexOf(Math.max(...rows[2]!))]);
      expect(kernelCounters.total().dispatches).toBe(backend === 'webgpu' ? 1 : 0);
    });

    it('samples what the algorithm in plain code samples, for every combination of limits', async () => {
      await useBackend(backend);
      const held = memory().numTensors;
      for (let step = 0; step < 24; step++) {
        const values = randomLogits(step);
        const topK = [0, 1, 7, 599][step % 4]!;
        const topP = [1, 0.5, 0.95][step % 3]!;
        const tokens = await sampled(values, { temperature: 0.8, topK, topP, seed: 3, step });
        const settings = { temperature: 0.8, topK, topP, repetitionPenalty: 1, length: 0, stepKey: keyOfStep(3, step) };
        tokens.forEach((token, row) => {
          const logits = values.subarray(row * vocabulary, (row + 1) * vocabulary);
          expect(token).toBe(sampleRow(logits, settings, row));
          expect(limitedSoftmax(logits, 0.8, topK, topP)[token]).toBeGreaterThan(0);
        });
      }
      expect(memory().numTensors).toBe(held);
    });

    it('penalises the tokens of the history once each, and writes the new ones behind them', async () => {
      await useBackend(backend);
      const values = new Float32Array(2 * vocabulary).fill(-3);
      values.set([10, 8, 6], 0);
      values.set([-1, -1.5, -2.5], vocabulary);
      const ids = tensor2d([0, 0, -1, 9, 9, 9, 0, 1, 0, 9, 9, 9], [2, 6], 'int32');
      // Row 0: 10 / 1.5 < 8. Row 1: -1 * 1.5 is -1.5, not above -1.5 * 1.5: token 0 stays.
      expect(await sampled(values, { repetitionPenalty: 1.5 }, { ids, length: 3 })).toEqual([1, 0]);
      // Row 0: 8 / 3 and 10 / 3 < 6. Row 1: -2.5 is above -3 and -4.5.
      expect(await sampled(values, { repetitionPenalty: 3 }, { ids, length: 4 })).toEqual([2, 2]);
      expect(Array.from(await ids.data())).toEqual([0, 0, -1, 1, 2, 9, 0, 1, 0, 0, 2, 9]);
      // Without a penalty the history is only written.
      expect(await sampled(values, {}, { ids, length: 5 })).toEqual([0, 0]);
      expect(Array.from(await ids.data()).filter((_, place) => place % 6 === 5)).toEqual([0, 0]);
      ids.dispose();
    });
  });
}

it('refuses settings out of range and a full history', async () => {
  await useBackend('cpu');
  const logits = tensor2d([1, 2], [1, 2]);
  const ids = tensor2d([0], [1, 1], 'int32');
  for (const settings of [{ topP: 0 }, { temperature: -1 }, { topK: 1.5 }]) {
    expectKvlrError(() => sampleTokens(logits, settings, { ids, length: 0 }), 'invalid-argument');
  }
  expectKvlrError(
    () => sampleTokens(logits, {}, { ids, length: 1 }),
    'tensor-shape',
    'history: expected int32 [1, more',
  );
  for (const each of [logits, ids]) each.dispose();
});
