import { expectClose, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { calibrate, mergeStatisticsStores, readStatistics } from './calibrate.ts';
import { compress } from './compress.ts';
import { MemoryRunStore } from './run/store.ts';
import { openTinyCheckpoint, tinyRecipe, tinyRun } from './testing/tiny-run.ts';

const calibration = { windows: 8, windowLength: 32, seed: 3 };

async function gather(part?: { part: number; parts: number }, store = new MemoryRunStore()) {
  const { model, texts, runtime } = await tinyRun();
  await calibrate({ model, texts: texts.calibration, calibration, part, runtime, store });
  return store;
}

async function fourParts() {
  const parts: { name: string; store: MemoryRunStore }[] = [];
  for (const part of [1, 2, 3, 4]) parts.push({ name: `part-${part}`, store: await gather({ part, parts: 4 }) });
  return parts;
}

describe('statistics that are gathered in parts', () => {
  it('come to those of one run', async () => {
    const whole = await readStatistics(await gather(), 'whole');
    const output = new MemoryRunStore();
    const provenance = await mergeStatisticsStores(await fourParts(), output);
    expect(provenance).toMatchObject({ tokenCount: 256, windowLength: 32 });
    expect(provenance.runs).toHaveLength(4);
    const merged = await readStatistics(output, 'merged');
    for (const layer of [0, 1]) {
      const [expected, received] = [await whole.layer(layer), await merged.layer(layer)];
      expect(received.tokenCount).toBe(256);
      for (const field of ['keySecondMoment', 'querySecondMoment', 'attendedSecondMoment', 'valueMean'] as const) {
        expectClose(received[field], expected[field], 1e-12);
      }
    }
  });

  it('compress to the same model as one run', async () => {
    const output = new MemoryRunStore();
    await mergeStatisticsStores(await fourParts(), output);
    const recipe = { ...tinyRecipe, calibration, recovery: { preset: 'none' as const } };
    const together = await compress({ ...(await tinyRun()), recipe });
    const statistics = await readStatistics(output, 'merged');
    const apart = await compress({ ...(await tinyRun()), recipe, statistics });
    expect(apart.stages.map(({ stage }) => stage)).not.toContain('statistics');
    expect(apart.evaluation!.result.perplexity.value).toBeCloseTo(together.evaluation!.result.perplexity.value, 6);
  });

  it('are not gathered again', async () => {
    const store = await gather({ part: 2, parts: 4 });
    const before = await store.read('layer-001.safetensors');
    expect(await (await gather({ part: 2, parts: 4 }, store)).read('layer-001.safetensors')).toBe(before);
    expect(await (await gather({ part: 3, parts: 4 }, store)).read('layer-001.safetensors')).not.toBe(before);
  });

  it('are refused where they do not belong together', async () => {
    const other = await openTinyCheckpoint({ seed: 9 });
    const { texts, runtime } = await tinyRun();
    const store = new MemoryRunStore();
    await calibrate({ model: other, texts: texts.calibration, calibration, runtime, store });
    const parts = [
      { name: 'mine', store: await gather() },
      { name: 'yours', store },
    ];
    await expectKvlrError(
      () => mergeStatisticsStores(parts, new MemoryRunStore()),
      'run-mismatch',
      'of the same model as mine, got those of another in yours',
    );
    const statistics = await readStatistics(store, 'yours');
    const run = { ...(await tinyRun()), recipe: tinyRecipe, statistics };
    await expectKvlrError(() => compress(run), 'run-mismatch', 'statistics of the same model');
    await expectKvlrError(() => readStatistics(new MemoryRunStore(), 'empty'), 'file-missing', 'in empty');
    await expectKvlrError(() => gather({ part: 5, parts: 9 }), 'invalid-argument', 'of 8 windows, got part 5');
  });
});
