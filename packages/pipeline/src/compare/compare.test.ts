import type { KvlrEvent } from '@kvlr/core';
import type { ComparisonRow } from '@kvlr/report';
import { describe, expect, it } from 'vitest';
import { artefactNames, MemoryRunStore } from '../run/store.ts';
import { readJson, readText, tinyRecipe, tinyRun } from '../testing/tiny-run.ts';
import { compare, orderRows } from './compare.ts';
import { budgetRows, groupingRows, methodRows } from './rows.ts';

describe('compare', () => {
  it('evaluates methods at every ratio that divides, and the recipe behind them', async () => {
    const store = new MemoryRunStore();
    const run = await tinyRun();
    const rows = methodRows({ ...run, methods: ['mean-pool', 'svd-a'], ratios: [1 / 2, 1 / 4, 1 / 8] });
    const request = { ...run, rows, store };
    const report = await compare(request);
    expect(report.rows.map(({ method, keyValueHeads, layout }) => [method, keyValueHeads, layout])).toEqual([
      ['mean-pool', 2, 'stock'],
      ['mean-pool', 1, 'stock'],
      ['svd-a', 2, 'latent keys'],
      ['svd-a', 1, 'latent keys'],
      ['default-recipe', 2, 'stock'],
      ['default-recipe', 1, 'stock'],
    ]);
    expect(report.notes?.[0]).toBe('1/8 of 4 KV heads is left out: possible are 1/2, 1/4.');
    for (const row of report.rows) {
      const { sources, negativeLogLikelihoods, klDivergences } = row.windows!;
      expect(sources).toEqual(report.base.windows!.sources);
      const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
      expect(Math.exp(mean(negativeLogLikelihoods))).toBeCloseTo(row.perplexity.value, 9);
      expect(mean(klDivergences!)).toBeCloseTo(row.klDivergence.value, 12);
    }
    const { hiddenSize, headDim, numLayers } = request.model.shape;
    const [halved] = report.rows;
    expect(report.model.parameters! - halved!.parameters!).toBe(numLayers * 2 * 2 * headDim * hiddenSize);
    expect(await readJson(store, 'rows/mean-pool-2.json')).toEqual(halved);
    for (const row of report.rows) expect(row.bytesPerToken).toBe(report.base.cache.bytesPerToken * row.ratio);
    expect(await store.list()).toContain(artefactNames.comparisonHtml);
    for (const { ratio, ranks } of report.orders!) {
      const byPerplexity = report.rows.filter((row) => row.ratio === ratio);
      byPerplexity.sort((a, b) => a.perplexity.value - b.perplexity.value);
      expect(ranks.map(({ method }) => method)).toEqual(byPerplexity.map(({ method }) => method));
      expect(ranks.at(-1)!.toNext!.perplexityRatio.standardError).toBeGreaterThan(0);
    }

    const events: KvlrEvent[] = [];
    const again = await compare({ ...request, onEvent: (event) => events.push(event) });
    const finished = events.filter((event) => event.type === 'stage-finished' && event.stage === 'evaluation');
    expect(finished.map((event) => 'skipped' in event && event.skipped)).toEqual(Array(7).fill(true));
    expect(again.base).toEqual(report.base);
    expect(again.rows).toEqual(report.rows);
  });

  it('evaluates groupings before and after reconstruction, with what their groups cost', async () => {
    const interleaved = {
      strategy: () => [
        [0, 2],
        [1, 3],
      ],
      hash: 'interleaved',
    };
    const names = ['contiguous', 'lost-energy', 'measured-error', './mine.mjs'];
    const choices = new Map([['./mine.mjs', interleaved]]);
    const groupings = names.map((name) => ({ name, choice: choices.get(name) }));
    const run = await tinyRun();
    const { rows, title, orders } = await compare({
      ...run,
      rows: groupingRows({ ...run, groupings, ratios: [1 / 2] }),
    });
    expect(title).toContain('every grouping');
    expect(rows.map(({ method }) => method)).toEqual(names.flatMap((name) => [name, `${name}+light`]));
    const lost = new Map(rows.map(({ method, lostEnergy }) => [method, lostEnergy!]));
    for (const name of ['contiguous', './mine.mjs']) {
      expect(lost.get('lost-energy')).toBeLessThanOrEqual(lost.get(name)!);
      expect(lost.get(name)).toBeGreaterThan(0);
      expect(lost.get(name)).toBe(lost.get(`${name}+light`));
    }
    expect(lost.get('contiguous')).not.toBe(lost.get('./mine.mjs'));
    const measured = new Map(rows.map(({ method, measuredError }) => [method, measuredError!]));
    for (const name of names) {
      expect(measured.get(name)).toBeGreaterThan(0);
      expect(measured.get(name)).toBe(measured.get(`${name}+light`));
    }
    const against = orders![0]!.ranks.filter(({ toUsual }) => toUsual).map(({ method }) => method);
    const others = names.filter((name) => name !== 'contiguous').flatMap((name) => [name, `${name}+light`]);
    expect(against.toSorted()).toEqual(others.toSorted());
  });

  it('evaluates budgets before and after reconstruction, with what each layer keeps', async () => {
    const uneven = { policy: () => [2, 1], hash: 'uneven' };
    const store = new MemoryRunStore();
    const run = { ...(await tinyRun()), recipe: { ...tinyRecipe, budget: { windows: 1, windowLength: 16 } } };
    const budgets = [{ name: 'uniform' }, { name: 'measured' }, { name: './uneven.mjs', choice: uneven }];
    const { rows, title, orders } = await compare({
      ...run,
      rows: budgetRows({ ...run, budgets, ratios: [1 / 2] }),
      store,
    });
    expect(title).toContain('every budget');
    const [, , measured, reconstructed] = rows;
    expect(rows.map(({ method, budget }) => [method, budget!.layers.map(({ keys }) => keys)])).toEqual([
      ['uniform', [2, 2]],
      ['uniform+light', [2, 2]],
      ['measured', measured!.budget!.layers.map(({ keys }) => keys)],
      ['measured+light', measured!.budget!.layers.map(({ keys }) => keys)],
      ['./uneven.mjs', [2, 1]],
      ['./uneven.mjs+light', [2, 1]],
    ]);
    expect(measured!.budget!.layers.reduce((sum, { keys }) => sum + keys, 0)).toBeLessThanOrEqual(4);
    // The second row takes the first one's measurements over, with their time.
    expect(reconstructed!.seconds).toBeGreaterThan(0);
    const against = orders![0]!.ranks.filter(({ toUsual }) => toUsual);
    expect(Object.fromEntries(against.map(({ method, toUsual }) => [method, toUsual!.to]))).toEqual({
      measured: 'uniform',
      'measured+light': 'uniform+light',
      './uneven.mjs': 'uniform',
      './uneven.mjs+light': 'uniform+light',
    });
    const markdown = await readText(store, artefactNames.comparisonMarkdown);
    expect(markdown).toContain('Against uniform');
    expect(markdown).toMatch(/uneven\.mjs.*\| 2 1 +\|/);
  });

  it('spreads the cache of the recipe over layers by a budget, and leaves the other rows even', async () => {
    const uneven = { policy: () => [2, 1], hash: 'uneven' };
    const recipe = { ...tinyRecipe, recovery: { preset: 'none' as const }, budget: { policy: './uneven.mjs' } };
    const run = { ...(await tinyRun()), recipe };
    const { rows } = await compare({
      ...run,
      rows: methodRows({ ...run, methods: ['mean-pool'], budget: uneven, ratios: [1 / 2] }),
    });
    expect(rows.map(({ method, layout }) => [method, layout])).toEqual([
      ['mean-pool', 'stock'],
      ['default-recipe', 'per-layer heads'],
    ]);
    expect(rows[1]!.bytesPerToken).toBe((rows[0]!.bytesPerToken * 3) / 4);
  });
});

const sources = ['a', 'a', 'a', 'b', 'b', 'b'];

function row(method: string, ratio: number, losses: number[]): ComparisonRow {
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  return {
    method,
    title: method,
    layout: 'stock',
    ratio,
    keyValueHeads: 8 * ratio,
    perplexity: { value: Math.exp(mean) },
    klDivergence: { value: 0 },
    topOneAgreement: { value: 1 },
    bytesPerToken: 1,
    seconds: 1,
    windows: { sources, negativeLogLikelihoods: losses },
  };
}

const hardness = [2, 3, 4, 5, 6, 7];
const shifted = (shift: number, scatter: number) =>
  hardness.map((loss, index) => loss + shift + (index % 2 === 0 ? scatter : -scatter));

describe('orderRows', () => {
  it('sorts each ratio, and tells differences from noise though windows differ far more', () => {
    const orders = orderRows(
      [
        row('worst', 1 / 2, shifted(0.3, 0.001)),
        row('best', 1 / 2, hardness),
        row('near', 1 / 2, shifted(0.002, 0.02)),
        row('best', 1 / 4, hardness),
      ],
      513,
    );
    expect(orders.map(({ ratio, ranks }) => [ratio, ranks.map(({ method }) => method)])).toEqual([
      [1 / 2, ['best', 'near', 'worst']],
      [1 / 4, ['best']],
    ]);
    const [best, near, worst] = orders[0]!.ranks;
    expect(best).toEqual({ method: 'best' });
    expect(near!.toNext).toMatchObject({ to: 'best', withinNoise: true });
    expect(near!.toNext!.perplexityRatio.value).toBeCloseTo(Math.exp(0.002), 9);
    expect(worst!.toNext).toMatchObject({ to: 'near', withinNoise: false });
    expect(worst!.toBest).toMatchObject({ to: 'best', withinNoise: false });
    expect(worst!.toBest!.perplexityRatio.tokenCount).toBe(6 * 512);
  });

  it('holds groupings against contiguous groups', () => {
    const rows = [
      row('contiguous', 1 / 2, hardness),
      row('measured-error', 1 / 2, shifted(-0.01, 0.001)),
      row('lost-energy', 1 / 2, shifted(0.01, 0.05)),
    ];
    const [order] = orderRows(rows, 513, () => 'contiguous');
    const [measured, contiguous, lost] = order!.ranks;
    expect(measured!.toUsual).toMatchObject({ to: 'contiguous', withinNoise: false });
    expect(measured!.toUsual!.perplexityRatio.value).toBeCloseTo(Math.exp(-0.01), 9);
    expect(contiguous).not.toHaveProperty('toUsual');
    expect(lost!.toUsual).toMatchObject({ withinNoise: true });
  });

  it('gives the order alone where rows have no scores of windows', () => {
    const rows = [row('second', 1, shifted(1, 0)), row('first', 1, hardness)].map(({ windows: _, ...rest }) => rest);
    const [order] = orderRows(rows, 513);
    expect(order!.ranks.map(({ method, toNext }) => [method, toNext])).toEqual([
      ['first', undefined],
      ['second', undefined],
    ]);
  });
});
