import { fileURLToPath } from 'node:url';
import { builtInPolicies } from '@kvlr/cache';
import type { KvlrEvent } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { calibrate, readStatistics } from '../calibrate.ts';
import { loadCache } from '../node/load-plugins.ts';
import { artefactNames, MemoryRunStore } from '../run/store.ts';
import { readText, tinyRecipe, tinyRun } from '../testing/tiny-run.ts';
import { cacheStatistics } from './cache-statistics.ts';
import { resolveCache } from './caches.ts';
import { predictCost, rankCandidates } from './choose-cache.ts';
import { compareBytes } from './compare-bytes.ts';
import { cacheEngines, cachesOf, enginesWith, hasCache } from './engines.ts';
import { headsRows } from './heads-rows.ts';
import { planCache } from './plan-cache.ts';

const example = (name: string, kind = 'caches') =>
  fileURLToPath(new URL(`../../../../examples/${kind}/${name}`, import.meta.url));

describe('compareBytes', () => {
  it('measures heads and bits together, counts their bytes, and keeps every point', async () => {
    const store = new MemoryRunStore();
    const run = await tinyRun();
    const names = ['f16', 'int8', 'channel-2+window=4+first=2', 'klt-2', 'squat-2', 'q4_0'];
    const caches = await Promise.all(names.map((name) => resolveCache(name)));
    const recipe = { ...run.recipe, recovery: { ...run.recipe.recovery, preset: 'none' as const } };
    const rows = headsRows({ ...run, recipe, ratios: [1 / 2] });
    const request = { ...run, recipe, rows, caches, contexts: [4096], store };
    const report = await compareBytes(request);
    const { base, points, contexts, notes } = report;
    expect(contexts).toEqual([base.windowLength - 1, 4096]);
    expect(points.map(({ heads, cache }) => [heads, cache])).toEqual(
      ['base', 'refit-2'].flatMap((heads) => names.slice(0, 5).map((cache) => [heads, cache])),
    );
    // The tiny model's heads are narrower than a block of llama.cpp's.
    expect(notes.filter((note) => /q4_0 is left out/.test(note))).toHaveLength(2);
    const share = (place: number) => points[place]!.bytes[1]! / report.baseBytes[1]!;
    expect([share(0), share(5)]).toEqual([1, 1 / 2]);
    expect(share(2)).toBeLessThan(share(1));
    expect(points[0]!.klDivergence.value).toBeLessThan(1e-6);
    expect(points[1]!.klDivergence.value).toBeLessThan(points[3]!.klDivergence.value);
    expect(points[5]!.klDivergence.value).toBeGreaterThan(points[0]!.klDivergence.value);
    expect(points[0]!.engines).toContain('llama.cpp');
    // Kernels have all of these but squat.
    const timed = points.slice(0, 5).map(({ tokensPerSecond }) => (tokensPerSecond ?? 0) > 0);
    expect(timed).toEqual([true, true, true, true, false]);
    expect(await readText(store, artefactNames.frontierMarkdown)).toContain('channel-2+window=4+first=2');
    expect(await readText(store, artefactNames.frontierPicture)).toMatch(/^<svg/);

    const events: KvlrEvent[] = [];
    const again = await compareBytes({ ...request, onEvent: (event) => events.push(event) });
    const finished = events.filter((event) => event.type === 'stage-finished' && event.stage === 'evaluation');
    expect(finished.map((event) => 'skipped' in event && event.skipped)).toEqual([true, true, true]);
    expect(again.points).toEqual(points);
  });

  it('learns dictionaries on samples of the calibration text', async () => {
    const run = await tinyRun({ numLayers: 1 });
    const rows = { title: '', rows: [], notes: [] };
    const { points } = await compareBytes({ ...run, rows, caches: [await resolveCache('lexico-4')], contexts: [] });
    expect(points).toHaveLength(1);
    expect(points[0]!.tableBytes).toBeGreaterThan(0);
    expect(points[0]!.klDivergence.value).toBeGreaterThan(0);
  });

  it('takes as many heads of another width for others', async () => {
    const run = await tinyRun({ numAttentionHeads: 4, numKeyValueHeads: 4 });
    const recipe = { ...run.recipe, recovery: { ...run.recipe.recovery, preset: 'none' as const } };
    const rowsOf = (headWidth: number, ratio: number) =>
      headsRows({ ...run, recipe: { ...recipe, headWidth }, ratios: [ratio] }).rows;
    const rows = { title: '', rows: [...rowsOf(2, 1 / 2), ...rowsOf(1, 1 / 4)], notes: [] };
    const report = await compareBytes({ ...run, recipe, rows, caches: [await resolveCache('f16')], contexts: [] });
    const share = ({ bytes }: { bytes: number[] }) => bytes[0]! / report.baseBytes[0]!;
    expect(report.points.map((point) => [point.heads, share(point)])).toEqual([
      ['base', 1],
      ['refit-1x2', 1 / 2],
      ['refit-1', 1 / 4],
    ]);
  });

  it('balanced scales of keys change nothing where nothing is coded', async () => {
    const run = await tinyRun();
    const recipe = { ...run.recipe, keyScales: 'balanced' as const };
    const rows = { title: '', rows: [], notes: [] };
    const report = await compareBytes({ ...run, recipe, rows, caches: [await resolveCache('f32')], contexts: [] });
    expect(report.points[0]!.headsTitle).toMatch(/, balanced$/);
    expect(report.points[0]!.klDivergence.value).toBeLessThan(1e-9);
  });
});

it.each(['bfloat.mjs', 'signs.mjs'])('the example %s is a codec', async (name) => {
  const { cache, hash } = await loadCache(`f16:${example(name)}+first=1`);
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  const { values } = cache.codec;
  const codec = values.create({ layer: 0, side: 'values', slots: 2, width: 8 });
  const rows = Float32Array.from({ length: 3 * 16 }, (_, i) => (i % 3) - 1.25);
  const bytes = codec.encode(rows, 3);
  expect(bytes.length).toBe(values.byteLength({ slots: 2, width: 8 }, 3));
  const read = codec.decode(bytes, 3);
  rows.forEach((x, i) => {
    expect(Math.sign(read[i]!)).toBe(Math.sign(x));
  });
});

it('a policy by name or module drops tokens, and its bytes are counted', async () => {
  const run = await tinyRun();
  const names = ['snapkv', 'kvmerger', 'sinks', example('heavy-hitters.mjs', 'policies')];
  const caches = await Promise.all(['f16', ...names.map((name) => `f16+policy=${name}+keep=25%`)].map(loadCache));
  const rows = { title: '', rows: [], notes: [] };
  const recipe = { ...run.recipe, evaluation: { ...run.recipe.evaluation, windowLength: 81 } };
  const { points, baseBytes } = await compareBytes({ ...run, recipe, rows, caches, contexts: [4096] });
  const [exact, ...dropped] = points;
  // A position and a sum beside the numbers: 8 bytes a token and slot.
  const { keySlotWidth, valueSlotWidth } = run.model.shape.layers[0]!.cache;
  const beside = 8 / (2 * (keySlotWidth + valueSlotWidth));
  for (const { bytes, klDivergence, engines } of dropped) {
    expect(klDivergence.value).toBeGreaterThan(exact!.klDivergence.value);
    expect(bytes[1]! / baseBytes[1]!).toBeCloseTo((1 + beside) * (0.25 + 0.75 * (15.5 / 4080)), 2);
    expect(engines).toEqual([]);
  }
});

it('modules that are no codecs and policies are refused in words', async () => {
  const budget = fileURLToPath(new URL('../../../../examples/budgets/taper.mjs', import.meta.url));
  await expectKvlrError(() => loadCache(budget), 'plugin-invalid', 'a default export that is a cache codec');
  await expectKvlrError(() => resolveCache('f16+policy=snapvk+keep=25%'), 'usage', 'cache policy');
  await expectKvlrError(() => loadCache(`f16+policy=${budget}+keep=25%`), 'plugin-invalid', 'a cache policy');
  const fetching = (policy: object) => async () => ({
    moduleNamespace: { default: { ...builtInPolicies.shadowkv, ...policy } },
    label: 'mine.mjs',
    hash: 'a',
  });
  const load = (policy: object) => () => resolveCache('f16+policy=./mine.mjs+keep=25%', fetching(policy));
  expect((await load({})()).cache.policy?.policy.fetches?.chunkTokens).toBe(8);
  await expectKvlrError(load({ readsAgain: true }), 'plugin-invalid', 'readsAgain or fetches, got both');
  await expectKvlrError(load({ fetches: { chunkTokens: 7, choose: () => [] } }), 'plugin-invalid', 'chunkTokens');
});

it('a fitted cache is fitted to texts, or to statistics of the same model that are there', async () => {
  const { model, texts, runtime } = await tinyRun();
  const store = new MemoryRunStore();
  await calibrate({
    model,
    texts: texts.calibration,
    store,
    runtime,
    calibration: { ...tinyRecipe.calibration, seed: 0 },
  });
  const request = { model, modelName: 'tiny', texts: async () => texts.calibration, runtime };
  const klt = await resolveCache('klt-2');
  expect(await cacheStatistics({ ...request, cache: await resolveCache('int8') })).toBeUndefined();
  const gathered = await cacheStatistics({ ...request, cache: klt });
  const kept = { statistics: await readStatistics(store, 'kept'), name: 'kept' };
  const read = await cacheStatistics({ ...request, cache: klt, kept });
  expect(read).toHaveLength(model.shape.numLayers);
  expect(read![0]!.keys.mean).toHaveLength(gathered![0]!.keys.mean.length);
  const other = await tinyRun({ seed: 9 });
  const mixed = () => cacheStatistics({ ...request, model: other.model, cache: klt, kept });
  await expectKvlrError(mixed, 'run-mismatch', 'the same model as tiny');
});

it('windows leave out a policy that reads texts again, and say so', async () => {
  const run = await tinyRun();
  const rows = { title: '', rows: [], notes: [] };
  const caches = [await resolveCache('f16'), await resolveCache('f16+policy=kvzip+keep=50%')];
  const { points, notes } = await compareBytes({ ...run, rows, caches, contexts: [] });
  expect(points.map(({ cache }) => cache)).toEqual(['f16']);
  expect(notes[0]).toMatch(/kvzip.* is left out; .*reads it again/);
});

it('a policy that leaves values in host memory is measured, and what lies there is said', async () => {
  const run = await tinyRun();
  const rows = { title: '', rows: [], notes: [] };
  const caches = [await resolveCache('f16'), await resolveCache('f16+policy=shadowkv+keep=25%')];
  const { points, notes } = await compareBytes({ ...run, rows, caches, contexts: [1024] });
  const [whole, fetching] = points;
  // All keys, a landmark of an eighth of them, and a quarter of the values: more than half, less than all.
  expect(fetching!.bytes.at(-1)! / whole!.bytes.at(-1)!).toBeGreaterThan(0.5);
  expect(fetching!.bytes.at(-1)!).toBeLessThan(whole!.bytes.at(-1)!);
  expect(fetching!.perplexity.value).toBeGreaterThan(1);
  expect(notes.at(-1)).toMatch(/shadowkv.*bytes are those on the device.* at \d+ tokens lie in host memory/);
});

describe('engines', () => {
  const parse = async (name: string) => (await resolveCache(name)).parts;

  it('say what to tell them', async () => {
    const { flags } = cacheEngines['llama.cpp'];
    expect(flags(await parse('q8_0:q5_1'))).toBe('-ctk q8_0 -ctv q5_1 -fa on');
    expect(flags(await parse('f16'))).toBeUndefined();
    expect(cacheEngines.vllm.flags(await parse('fp8'))).toBe('--kv-cache-dtype fp8');
  });

  it('have the caches that they have', async () => {
    const { model } = await tinyRun();
    expect(hasCache(cacheEngines['llama.cpp'], await parse('q8_0:q4_0'))).toBe(true);
    expect(hasCache(cacheEngines.vllm, await parse('f16:fp8'))).toBe(false);
    expect(hasCache(cacheEngines['llama.cpp'], await parse('q8_0+window=32'))).toBe(false);
    expect(enginesWith(await parse('channel-3+window=32'), model.shape)).toEqual(['kvlr']);
    expect(cachesOf(cacheEngines.kvlr)).toContain('channel-2+window=32+first=4');
  });
});

describe('choosing', () => {
  const heads = [
    { name: 'base', share: 1, cost: 0 },
    { name: 'half', share: 1 / 2, cost: 0.01 },
  ];
  const caches = [
    { name: 'f16', cost: 0 },
    { name: 'four', cost: 0.004 },
    { name: 'two', cost: 0.03 },
  ];
  const bits = new Map([
    ['f16', 1],
    ['four', 0.25],
    ['two', 0.125],
  ]);
  const bytesOf = (ofHeads: string, cache: string) => (ofHeads === 'base' ? 1 : 1 / 2) * bits.get(cache)!;

  it('bits matter more where fewer heads share the work', () => {
    expect(predictCost(heads[1]!, caches[1]!)).toBeCloseTo(0.01 + 0.004 * 2 ** 0.85, 12);
    expect(predictCost(heads[0]!, { cost: -0.001 })).toBe(0);
  });

  it.each([
    [1, 'base', 'f16'],
    [0.25, 'base', 'four'],
    [0.125, 'half', 'four'],
    [0.0625, 'half', 'two'],
  ])('within %d of the bytes: %s, %s', (budget, ofHeads, cache) => {
    expect(rankCandidates(heads, caches, bytesOf, budget)[0]).toMatchObject({ heads: ofHeads, cache });
  });
});

describe('planCache', () => {
  it('leaves the weights alone where bits are enough, and takes heads where they are not', async () => {
    const run = await tinyRun();
    const recipe = { ...run.recipe, recovery: { ...run.recipe.recovery, preset: 'none' as const } };
    const rows = headsRows({ ...run, recipe, ratios: [1 / 2, 1 / 4] });
    const request = { ...run, recipe, rows, engine: 'vllm' as const, context: 512, store: new MemoryRunStore() };
    const half = await planCache({ ...request, budget: { share: 0.5 } });
    expect(half.row).toBeUndefined();
    expect(half.plan).toMatchObject({ chosen: { heads: 'base', cache: 'fp8' }, flags: '--kv-cache-dtype fp8' });
    expect(half.plan.reasons[0]).toMatch(/^Bits alone meet the budget/);
    const quarter = await planCache({ ...request, budget: { bytes: half.plan.baseBytes / 4 } });
    expect(quarter.row?.entries.keyValueHeads).toBeLessThan(4);
    expect(quarter.plan.reasons[0]).toMatch(/^Bits alone do not meet the budget in vLLM/);
    expect(quarter.plan.chosen.bytes).toBeLessThanOrEqual(0.25);
    const measured = quarter.plan.candidates.flatMap((candidate) =>
      candidate.measured ? [candidate.measured.value] : [],
    );
    expect(quarter.plan.chosen.measured!.value).toBe(Math.min(...measured));
    const tooLittle = () => planCache({ ...request, budget: { share: 0.01 } });
    await expectKvlrError(tooLittle, 'usage', 'a budget of at least 12.5 % of the cache for vLLM');
  });
});
