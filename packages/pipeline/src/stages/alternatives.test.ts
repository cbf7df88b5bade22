import { expect, it } from 'vitest';
import { compress } from '../compress.ts';
import { MemoryRunStore } from '../run/store.ts';
import { tinyRecipe, tinyRun } from '../testing/tiny-run.ts';

it('sets the result beside its closed form, a refit and caches of fewer bits, on the same windows', async () => {
  const store = new MemoryRunStore();
  const { report, evaluation } = await compress({ ...(await tinyRun()), store, alternatives: true });
  const { points, windowCount } = report.alternatives!;
  expect(points.map(({ heads, cacheDtype }) => [heads, cacheDtype])).toEqual([
    ['original', undefined],
    ['closed form', undefined],
    ['refit', undefined],
    ['result', undefined],
    ['original', 'int8'],
    ['result', 'int8'],
    ['original', 'int4'],
    ['result', 'int4'],
  ]);
  expect(points[0]!.perplexityRatio.value).toBe(1);
  // The tiny evaluation has few windows, shorter than those that are cut: they are the same.
  expect(windowCount).toBe(evaluation!.result.windowCount);
  expect(points[3]!.perplexityRatio.value).toBeCloseTo(evaluation!.result.againstBase!.perplexityRatio.value, 5);
  const { base, result } = evaluation!;
  expect([points[0]!.bytesPerToken, points[3]!.bytesPerToken]).toEqual([
    base.cache.bytesPerToken,
    result.cache.bytesPerToken,
  ]);
  expect(points[6]!.bytesPerToken).toBeLessThan(points[4]!.bytesPerToken);
  const html = new TextDecoder().decode(await store.read('report.html'));
  expect(html).toContain('Quality against bytes');
  const again = await compress({ ...(await tinyRun()), store, alternatives: true });
  expect(again.report.alternatives).toEqual(report.alternatives);
  expect(again.stages.filter(({ stage }) => stage === 'evaluation').map(({ skipped }) => skipped)).toEqual([
    true,
    true,
  ]);
});

it('names no closed form where nothing followed it', async () => {
  const recipe = { ...tinyRecipe, recovery: { preset: 'none' as const } };
  const { report } = await compress({ ...(await tinyRun()), recipe, alternatives: true });
  expect(report.alternatives!.points.filter(({ cacheDtype }) => !cacheDtype).map(({ heads }) => heads)).toEqual([
    'original',
    'result',
  ]);
});
