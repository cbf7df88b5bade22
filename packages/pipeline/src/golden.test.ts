import type { RecipeInput } from '@kvlr/core/schemas';
import { expect, it } from 'vitest';
import { compare } from './compare/compare.ts';
import { groupingRows } from './compare/rows.ts';
import { compress } from './compress.ts';
import { tinyDistillation, tinyRecipe, tinyRun } from './testing/tiny-run.ts';

/**
 * Numbers of small runs, so that work on the code which is not meant to change results is seen to change none. They were
 * computed by this program, not by an oracle: a change that is meant replaces them.
 */
const model = { numLayers: 3, numAttentionHeads: 8, numKeyValueHeads: 4 };
const closedForm = { preset: 'none' } as const;
const measured = { policy: 'measured', windows: 2, windowLength: 17 };

interface Golden {
  perplexity: number;
  klDivergence: number;
  /** What each layer keeps, keys and values. */
  layers: [number, number][];
  /** Errors on held-out windows after block reconstruction. */
  heldOutErrors: number[];
}

const goldens: [string, RecipeInput, Golden][] = [
  [
    'block reconstruction',
    { method: 'rope-averaged' },
    {
      perplexity: 394.7292841175505,
      klDivergence: 0.43398763333456347,
      layers: [
        [2, 2],
        [2, 2],
        [2, 2],
      ],
      heldOutErrors: [0.20335325598716736, 0.6934232115745544, 1.2386494874954224],
    },
  ],
  [
    'values fitted to what is attended to',
    { method: 'rope-averaged-attended', recovery: closedForm },
    {
      perplexity: 434.0569244704797,
      klDivergence: 0.4452439597929337,
      layers: [
        [2, 2],
        [2, 2],
        [2, 2],
      ],
      heldOutErrors: [],
    },
  ],
  [
    'rope-exact-joint in groups of the least lost energy',
    { method: 'rope-exact-joint', grouping: 'lost-energy', recovery: closedForm },
    {
      perplexity: 517.3330260719588,
      klDivergence: 0.45265063597465227,
      layers: [
        [2, 2],
        [2, 2],
        [2, 2],
      ],
      heldOutErrors: [],
    },
  ],
  [
    'palu with ranks by lost energy',
    { method: 'palu', budget: { policy: 'lost-energy' }, recovery: closedForm },
    {
      perplexity: 433.7164424038291,
      klDivergence: 0.36132057224945646,
      layers: [
        [16, 16],
        [16, 16],
        [16, 16],
      ],
      heldOutErrors: [],
    },
  ],
  [
    'svd-a with measured ranks',
    { method: 'svd-a', budget: measured, recovery: closedForm },
    {
      perplexity: 464.891653428837,
      klDivergence: 0.4321335238883146,
      layers: [
        [24, 32],
        [8, 16],
        [8, 8],
      ],
      heldOutErrors: [],
    },
  ],
  [
    'measured heads in measured groups, rounded to F16',
    { method: 'rope-averaged', grouping: 'measured-error', budget: measured, dtype: 'F16' },
    {
      perplexity: 417.34485873900996,
      klDivergence: 0.3160260248323662,
      layers: [
        [4, 4],
        [1, 1],
        [1, 1],
      ],
      heldOutErrors: [8.525878740256888e-15, 0.45360979437828064, 1.0265897512435913],
    },
  ],
  [
    'distillation',
    { method: 'rope-averaged', recovery: { ...tinyRecipe.recovery, distillation: tinyDistillation } },
    {
      perplexity: 393.25035717487356,
      klDivergence: 0.42946126734360623,
      layers: [
        [2, 2],
        [2, 2],
        [2, 2],
      ],
      heldOutErrors: [0.20335325598716736, 0.6934232115745544, 1.2386494874954224],
    },
  ],
];

/** The same to nine digits; numbers about zero are rounding errors. */
const expectSame = (received: readonly number[], expected: readonly number[]) => {
  expect(received).toHaveLength(expected.length);
  const worst = expected.map((value, place) => Math.abs(received[place]! - value) / (1e-9 * Math.abs(value) + 1e-12));
  expect(Math.max(0, ...worst), `${received.join(', ')} in place of ${expected.join(', ')}`).toBeLessThan(1);
};

it.each(goldens)('a tiny model comes out as before: %s', async (_, recipe, golden) => {
  const { evaluation, budget, report } = await compress({
    ...(await tinyRun(model)),
    recipe: { ...tinyRecipe, ...recipe },
  });
  const { perplexity, againstBase } = evaluation!.result;
  expect(budget.layers.map(({ keys, values }) => [keys, values])).toEqual(golden.layers);
  expectSame([evaluation!.base.perplexity.value], [484.31413008405076]);
  expectSame([perplexity.value, againstBase!.klDivergence.value], [golden.perplexity, golden.klDivergence]);
  expectSame(
    report.reconstruction!.map(({ heldOutAfter }) => heldOutAfter),
    golden.heldOutErrors,
  );
});

it('groupings cost as before', async () => {
  const run = await tinyRun(model);
  const groupings = [{ name: 'contiguous' }, { name: 'lost-energy' }, { name: 'measured-error' }];
  const { rows } = await compare({ ...run, rows: groupingRows({ ...run, groupings, ratios: [1 / 2] }) });
  const figures = rows.map(({ method, perplexity, klDivergence, lostEnergy, measuredError }) => ({
    method,
    numbers: [perplexity.value, klDivergence.value, lostEnergy!, measuredError!],
  }));
  const expected: [string, number[]][] = [
    ['contiguous', [436.22150645030564, 0.4241727895495059, 0.36384274430903113, 0.21248816842224993]],
    ['contiguous+light', [414.9417335725748, 0.39861067868058353, 0.36384274430903113, 0.21248816842224993]],
    ['lost-energy', [531.0837279321827, 0.4247583919411252, 0.3398431304593383, 0.20078481114043034]],
    ['lost-energy+light', [495.3347888365048, 0.3991638607612622, 0.3398431304593383, 0.20078481114043034]],
    ['measured-error', [555.5203589980008, 0.4180419384194569, 0.34492927830546377, 0.1857699259526421]],
    ['measured-error+light', [510.6109915683154, 0.39425860508284766, 0.34492927830546377, 0.1857699259526421]],
  ];
  expect(figures.map(({ method }) => method)).toEqual(expected.map(([method]) => method));
  expectSame(
    figures.flatMap(({ numbers }) => numbers),
    expected.flatMap(([, numbers]) => numbers),
  );
});
