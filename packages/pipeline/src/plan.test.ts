import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compress } from './compress.ts';
import { type PlanRequest, planCompression } from './plan.ts';
import { tinyDistillation, tinyRecipe, tinyRun } from './testing/tiny-run.ts';

const { recovery } = tinyRecipe;
const tooShort = [{ source: 'sea', text: 'Too short.' }];
const short = [{ source: 'sea', text: 'x'.repeat(100) }];

describe('planCompression', () => {
  it('settles what a run does', async () => {
    const run = await tinyRun();
    const plan = await planCompression({ ...run, modelLocation: 'someone/tiny' });
    expect(plan).toMatchObject({ keyValueHeads: 2, sourceDtype: 'F32', cache: { bytesPerToken: 2 * 2 * 4 * 8 * 4 } });
    expect(plan.recipe).toMatchObject({ keyValueHeads: 2, method: 'rope-averaged' });
    expect(plan.recipe.source).toMatchObject({ modelId: run.model.id, location: 'someone/tiny' });
    expect((await compress({ ...run, modelLocation: 'someone/tiny' })).recipe).toEqual(plan.recipe);
  });

  const refused: [string, string, (run: PlanRequest) => Partial<PlanRequest>][] = [
    ['heads that do not divide', 'heads-not-divisible', () => ({ recipe: { ...tinyRecipe, keyValueHeads: 3 } })],
    [
      'a decoder of another kind',
      'unsupported-feature',
      ({ model }) => {
        const layers = model.shape.layers.map((layer) => ({ ...layer, window: 16 }));
        return { model: { ...model, shape: { ...model.shape, layers } } };
      },
    ],
    ['an unknown method', 'usage', () => ({ recipe: { ...tinyRecipe, method: 'magic' } })],
    ['an unknown grouping', 'usage', () => ({ recipe: { ...tinyRecipe, grouping: 'magic' } })],
    ['an unknown budget', 'usage', () => ({ recipe: { ...tinyRecipe, budget: { policy: 'magic' } } })],
    ['long windows', 'recipe-invalid', () => ({ recipe: { ...tinyRecipe, calibration: { windowLength: 4096 } } })],
    ['a short evaluation text', 'text-too-short', ({ texts }) => ({ texts: { ...texts, evaluation: tooShort } })],
    ['no evaluation text', 'text-empty', ({ texts }) => ({ texts: { ...texts, evaluation: [] } })],
    [
      'too short a text to train on',
      'text-too-short',
      ({ texts }) => ({
        texts: { ...texts, calibration: short },
        recipe: { ...tinyRecipe, recovery: { ...recovery, trainingWindows: 4 } },
      }),
    ],
    [
      'too short a text to distil on',
      'text-too-short',
      ({ texts }) => ({
        texts: { ...texts, calibration: short },
        recipe: {
          ...tinyRecipe,
          recovery: { preset: 'none', distillation: { ...tinyDistillation, heldOutWindows: 4 } },
        },
      }),
    ],
    [
      'a text without room to measure a budget',
      'text-too-short',
      ({ texts }) => ({
        texts: { ...texts, calibration: short },
        recipe: { ...tinyRecipe, recovery: { preset: 'none' }, budget: { policy: 'measured', windowLength: 90 } },
      }),
    ],
  ];
  it.each(refused)('refuses, as the run does before it computes: %s', async (_, code, change) => {
    const run = await tinyRun();
    const request = { ...run, ...change(run) };
    await expectKvlrError(() => planCompression(request), code as 'usage');
    const stages: string[] = [];
    const onEvent = (event: { type: string; stage?: string }) => stages.push(`${event.type} ${event.stage}`);
    await expectKvlrError(() => compress({ ...request, onEvent }), code as 'usage');
    expect(stages).toEqual(['stage-started inspect']);
  });
});
