import { resolveMethod } from '@kvlr/compression';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { parseRecipe } from '../recipe.ts';
import { describeBudget, differsByLayer, foreseeBudget } from './budget.ts';

const model = createTinyModel({ numLayers: 4 });
const foresee = (policy: string, method = 'rope-averaged') =>
  foreseeBudget({
    model,
    recipe: parseRecipe({ budget: { policy } }),
    keyValueHeads: 2,
    method: resolveMethod(method),
  });

describe('foreseeBudget', () => {
  it('knows what shapes and weights decide', async () => {
    const uniform = (await foresee('uniform'))!;
    expect(differsByLayer(uniform)).toBe(false);
    const progressive = (await foresee('progressive'))!;
    expect(progressive.layers[0]).toEqual({ keys: 4, values: 4 });
    expect(progressive.layers.reduce((sum, { keys }) => sum + keys, 0)).toBe(8);
    expect(differsByLayer(progressive)).toBe(true);
    expect(describeBudget((await foresee('uniform', 'svd-a'))!)).toBe(
      'Numbers per token by layer: keys 16, 16, 16, 16; values 16, 16, 16, 16',
    );
  });

  it.each(['lost-energy', 'measured', './mine.mjs'])('does not know what %s will answer', async (policy) => {
    expect(await foresee(policy)).toBeUndefined();
  });
});
