import { createTinyModel, differenceByRange, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectStatistics } from './collect-statistics.ts';
import { mergeStatistics } from './merge-statistics.ts';
import { momentFields } from './statistics-bundle.ts';
import { randomActivations } from './testing/random-activations.ts';

const { shape } = createTinyModel({ numLayers: 2, numAttentionHeads: 2, headDim: 4, hiddenSize: 6 });
const provenance = { modelId: 'tiny', textHash: 'hash', seed: 1 };

function collect(lengths: number[], seed = 1, modelId = 'tiny') {
  const windows = lengths.map((length) => randomTokenIds(length, shape.vocabSize, seed * 1000 + length));
  return collectStatistics({
    activations: randomActivations(shape),
    windows,
    provenance: { ...provenance, modelId, seed },
  });
}

describe('mergeStatistics', () => {
  it('of parts is the run over all windows, however they are divided', async () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(lengths, fc.nat(), async (all, cut) => {
        const middle = 1 + (cut % (all.length - 1));
        const parts = await Promise.all([collect(all.slice(0, middle)), collect(all.slice(middle))]);
        const merged = mergeStatistics(parts);
        const whole = await collect(all);
        expect(merged.provenance.tokenCount).toBe(whole.provenance.tokenCount);
        for (const [index, layer] of whole.layers.entries()) {
          expect(merged.layers[index]!.tokenCount).toBe(layer.tokenCount);
          for (const field of momentFields) {
            expect(differenceByRange(merged.layers[index]![field], layer[field]), field).toBeLessThan(1e-13);
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  it('lists the runs it was made of, also over several merges', async () => {
    const [first, second, third] = await Promise.all([collect([3], 1), collect([4], 2), collect([5], 3)]);
    const merged = mergeStatistics([mergeStatistics([first, second]), third]);
    expect(merged.provenance).toMatchObject({ modelId: 'tiny', seed: 1, tokenCount: 12 });
    expect(merged.provenance.runs?.map((run) => [run.seed, run.tokenCount])).toEqual([
      [1, 3],
      [2, 4],
      [3, 5],
    ]);
    expect(mergeStatistics([first])).toBe(first);
  });

  it('refuses different models and an empty list', async () => {
    const [first, second] = await Promise.all([collect([3]), collect([3], 1, 'other')]);
    expectKvlrError(() => mergeStatistics([first, second]), 'run-mismatch');
    const fewer = { ...first, layers: first.layers.slice(1) };
    expectKvlrError(() => mergeStatistics([first, fewer]), 'run-mismatch');
    expectKvlrError(() => mergeStatistics([]), 'invalid-argument');
  });
});
