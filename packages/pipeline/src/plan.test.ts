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
    expect(plan.recipe).toMatchObject({ keyValueHeads: 2, method: 'rope-averaged-received' });
    expect(plan.recipe.source).toMatchObject({ modelId: run.model.id, location: 'someone/tiny' });
    expect((await compress({ ...run, modelLocation: 'someone/tiny' })).recipe).toEqual(plan.recipe);
  });

  it('takes the nearest count below a share that does not divide, and says so', async () => {
    const run = await tinyRun();
    const plan = await planCompression({ ...run, recipe: { ...tinyRecipe, keyValueHeads: { keep: 0.3 } } });
    expect(plan.keyValueHeads).toBe(1);
    expect(plan.notes).toEqual(['30 % of 4 KV heads is 1.2, which does not divide them: 1 is kept, 25 %.']);
    expect((await planCompression(run)).notes).toEqual([]);
  });

  it('tells what the result will load into, and when merges are approximate', async () => {
    const { model, ...run } = await tinyRun();
    const outcomeOf = async (changes: object = {}, recipe: object = {}) => {
      const shape = { ...model.shape, ...changes };
      return (await planCompression({ ...run, model: { ...model, shape }, recipe: { ...tinyRecipe, ...recipe } }))
        .outcome;
    };
    expect(await outcomeOf()).toEqual({ loadsInto: {} });
    expect(await outcomeOf({}, { method: 'svd-a' })).toMatchObject({
      loadsInto: { nativeReason: "a cache of kvlr's own: SVD-a per layer" },
    });
    expect(await outcomeOf({}, { budget: { policy: 'lost-energy' } })).toEqual({
      loadsInto: {
        nativeReason: 'another number of KV heads in each layer',
        onnxReason: expect.stringContaining('one KV head count'),
      },
    });
    const { attention } = model.shape;
    expect((await outcomeOf({ attention: { ...attention, clip: 1 } })).approximation).toBe(
      'clipping between projection and RoPE',
    );
    expect(await outcomeOf({ attention: { ...attention, clip: 1 } }, { keyValueHeads: 4 })).not.toHaveProperty(
      'approximation',
    );
  });

  const refused: [string, string, (run: PlanRequest) => Partial<PlanRequest>][] = [
    ['heads that do not divide', 'heads-not-divisible', () => ({ recipe: { ...tinyRecipe, keyValueHeads: 3 } })],
    [
      'keys that would be rebuilt from clipped latents',
      'unsupported-feature',
      ({ model }) => {
        const shape = { ...model.shape, attention: { ...model.shape.attention, clip: 1 } };
        return { model: { ...model, shape }, recipe: { ...tinyRecipe, method: 'palu' } };
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
