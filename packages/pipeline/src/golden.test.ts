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
    {},
    {
      perplexity: 393.8232794974508,
      klDivergence: 0.43396391962868,
      layers: [
        [2, 2],
        [2, 2],
        [2, 2],
      ],
      heldOutErrors: [0.20335325598716736, 0.6934232115745544, 1.23078191280365],
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
    { grouping: 'measured-error', budget: measured, dtype: 'F16' },
    {
      perplexity: 417.39355306648804,
      klDivergence: 0.3156032608880105,
      layers: [
        [4, 4],
        [1, 1],
        [1, 1],
      ],
      heldOutErrors: [8.525878740256888e-15, 0.45360979437828064, 1.0248281955718994],
    },
  ],
  [
    'distillation',
    { recovery: { ...tinyRecipe.recovery, distillation: tinyDistillation } },
    {
      perplexity: 392.44817599756584,
      klDivergence: 0.4294815601833783,
      layers: [
        [2, 2],
        [2, 2],
        [2, 2],
      ],
      heldOutErrors: [0.20335325598716736, 0.6934232115745544, 1.23078191280365],
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
    ['contiguous', [413.20681606784655, 0.4605638600817494, 0.36384274430903113, 0.21681339113334863]],
    ['contiguous+light', [393.8232794974508, 0.43396391962868, 0.36384274430903113, 0.21681339113334863]],
    ['lost-energy', [531.5406628932483, 0.4287244103610427, 0.3398431304593383, 0.20954140998462353]],
    ['lost-energy+light', [501.7152847076738, 0.39838258798626536, 0.3398431304593383, 0.20954140998462353]],
    ['measured-error', [533.5417574820132, 0.4063097057673275, 0.34492927830546377, 0.18785748493603252]],
    ['measured-error+light', [483.12151218843724, 0.38196211933797364, 0.34492927830546377, 0.18785748493603252]],
  ];
  expect(figures.map(({ method }) => method)).toEqual(expected.map(([method]) => method));
  expectSame(
    figures.flatMap(({ numbers }) => numbers),
    expected.flatMap(([, numbers]) => numbers),
  );
});
