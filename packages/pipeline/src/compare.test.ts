import { describe, expect, it } from 'vitest';
import { compare } from './compare.ts';
import { MemoryRunStore } from './store/memory-run-store.ts';
import { artefactNames } from './store/run-store.ts';
import { openTinyCheckpoint, tinyRecipe, tinyTexts } from './testing/tiny-run.ts';

describe('compare', () => {
  it('judges methods at every ratio that divides, and the recipe behind them', async () => {
    const store = new MemoryRunStore();
    const request = {
      model: await openTinyCheckpoint(),
      recipe: tinyRecipe,
      texts: tinyTexts,
      methods: ['mean-pool', 'svd-a'],
      ratios: [1 / 2, 1 / 4, 1 / 8],
      store,
      runtime: { backend: 'cpu' as const },
    };
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
    const kept = JSON.parse(new TextDecoder().decode(await store.read('rows/mean-pool-2.json')));
    expect(kept.value).toEqual(halved);
    for (const row of report.rows) expect(row.bytesPerToken).toBe(report.base.cache.bytesPerToken * row.ratio);
    expect(await store.list()).toContain(artefactNames.comparisonHtml);
    for (const { ratio, ranks } of report.orders!) {
      const byPerplexity = report.rows.filter((row) => row.ratio === ratio);
      byPerplexity.sort((a, b) => a.perplexity.value - b.perplexity.value);
      expect(ranks.map(({ method }) => method)).toEqual(byPerplexity.map(({ method }) => method));
      expect(ranks.at(-1)!.toNext!.perplexityRatio.standardError).toBeGreaterThan(0);
    }

    let finishedRows = 0;
    const again = await compare({
      ...request,
      onEvent: (event) => {
        if (event.type === 'stage-finished' && event.stage === 'evaluation' && event.skipped) finishedRows++;
      },
    });
    expect(finishedRows).toBe(7);
    expect(again.base).toEqual(report.base);
    expect(again.rows).toEqual(report.rows);
  });

  it('judges groupings before and after reconstruction, with what their groups cost', async () => {
    const interleaved = {
      strategy: () => [
        [0, 2],
        [1, 3],
      ],
      hash: 'interleaved',
    };
    const names = ['contiguous', 'lost-energy', 'measured-error', './mine.mjs'];
    const { rows, title, orders } = await compare({
      model: await openTinyCheckpoint(),
      recipe: tinyRecipe,
      texts: tinyTexts,
      groupings: names.map((name) => ({ name, choice: name === './mine.mjs' ? interleaved : undefined })),
      ratios: [1 / 2],
      runtime: { backend: 'cpu' },
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
    const against = orders![0]!.ranks.flatMap(({ method, toUsual }) => (toUsual ? [method] : []));
    expect(against.toSorted()).toEqual(
      names.flatMap((name) => (name === 'contiguous' ? [] : [name, `${name}+light`])).toSorted(),
    );
  });

  it('judges budgets before and after reconstruction, with what each layer keeps', async () => {
    const uneven = { policy: () => [2, 1], hash: 'uneven' };
    const store = new MemoryRunStore();
    const { rows, title, orders } = await compare({
      model: await openTinyCheckpoint(),
      recipe: { ...tinyRecipe, budget: { windows: 1, windowLength: 16 } },
      texts: tinyTexts,
      budgets: ['uniform', 'measured', './uneven.mjs'].map((name) => ({
        name,
        choice: name === './uneven.mjs' ? uneven : undefined,
      })),
      ratios: [1 / 2],
      store,
      runtime: { backend: 'cpu' },
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
    const against = orders![0]!.ranks.flatMap(({ method, toUsual }) => (toUsual ? [[method, toUsual.to]] : []));
    expect(Object.fromEntries(against)).toEqual({
      measured: 'uniform',
      'measured+light': 'uniform+light',
      './uneven.mjs': 'uniform',
      './uneven.mjs+light': 'uniform+light',
    });
    const markdown = new TextDecoder().decode(await store.read(artefactNames.comparisonMarkdown));
    expect(markdown).toContain('Against uniform');
    expect(markdown).toMatch(/uneven\.mjs.*\| 2 1 +\|/);
  });

  it('spreads the cache of the recipe over layers by a budget, and leaves the other rows even', async () => {
    const uneven = { policy: () => [2, 1], hash: 'uneven' };
    const { rows } = await compare({
      model: await openTinyCheckpoint(),
      recipe: { ...tinyRecipe, recovery: { preset: 'none' }, budget: { policy: './uneven.mjs' } },
      texts: tinyTexts,
      methods: ['mean-pool'],
      budget: uneven,
      ratios: [1 / 2],
      runtime: { backend: 'cpu' },
    });
    expect(rows.map(({ method, layout }) => [method, layout])).toEqual([
      ['mean-pool', 'stock'],
      ['default-recipe', 'per-layer heads'],
    ]);
    expect(rows[1]!.bytesPerToken).toBe((rows[0]!.bytesPerToken * 3) / 4);
  });
});
