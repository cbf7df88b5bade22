import type { DecoderShape } from '@kvlr/core';
import type { RecipeInput } from '@kvlr/core/schemas';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { requireRoom, spilledBytes, stageMemory, threadBytes } from './memory-estimate.ts';
import { planCompression } from './plan.ts';
import { tinyRecipe, tinyRun } from './testing/tiny-run.ts';

const wasm = { backend: 'wasm', native: false, threads: 1 } as const;
const refit = { ...tinyRecipe.recovery, preset: 'refit' as const };
const none = { preset: 'none' as const };

/** The plan of a tiny run with a model of another size. */
async function planOf(recipe: RecipeInput, size: Partial<DecoderShape> = {}) {
  const plan = await planCompression({ ...(await tinyRun()), recipe: { ...tinyRecipe, ...recipe } });
  const { shape } = plan.model;
  const layers = Array.from({ length: size.numLayers ?? shape.numLayers }, () => shape.layers[0]!);
  return { ...plan, model: { ...plan.model, shape: { ...shape, ...size, layers } } };
}

describe('stageMemory', () => {
  it('does not grow with the layers', async () => {
    const [few, many] = [await planOf({ recovery: none }), await planOf({ recovery: none }, { numLayers: 40 })];
    // The moments of the plan are counted over its own layers.
    expect(stageMemory(many, wasm).evaluation).toBe(stageMemory(few, wasm).evaluation);
    expect(stageMemory(many, wasm).factors).toBeLessThanOrEqual(stageMemory(few, wasm).factors!);
    const repaired = await planOf({ recovery: refit }, { numLayers: 40 });
    expect(stageMemory(repaired, wasm)['block reconstruction']).toBe(
      stageMemory(await planOf({ recovery: refit }), wasm)['block reconstruction'],
    );
  });

  it('counts the stages of the run', async () => {
    const weightsAlone = { method: 'svd-w', recovery: none, evaluation: { windowsPerSource: 0, windowLength: 33 } };
    expect(Object.keys(stageMemory(await planOf(weightsAlone), wasm))).toEqual(['factors']);
    const all = stageMemory(await planOf({ recovery: refit }), wasm);
    expect(Object.keys(all)).toEqual(['statistics', 'factors', 'block reconstruction', 'evaluation']);
    const threads = stageMemory(await planOf({ recovery: refit }), { ...wasm, threads: 2 });
    expect(threads.statistics).toBeGreaterThan(all.statistics!);
  });

  it('has streams on disk, which native code alone trains from', async () => {
    const plan = await planOf({ recovery: refit });
    const saved = (native: boolean) => {
      const means = { ...wasm, native };
      const [inMemory, onDisk] = [stageMemory(plan, means), stageMemory(plan, { ...means, streamBytes: 0 })];
      return inMemory['block reconstruction']! - onDisk['block reconstruction']!;
    };
    expect(saved(false)).toBeGreaterThan(0);
    expect(saved(true)).toBe(3 * saved(false));
    expect(spilledBytes(plan, { ...wasm, streamBytes: 0 })).toBe(saved(true));
    expect(spilledBytes(plan, wasm)).toBe(0);
  });
});

/** A layer of 3.9 billion numbers. */
const wide = {
  hiddenSize: 16_384,
  feedForward: { intermediateSize: 65_536, gated: true, bias: false, activation: 'silu' as const },
};

describe('requireRoom', () => {
  it('refuses a layer that WASM cannot hold, before anything is computed', async () => {
    const plan = await planOf({ recovery: refit }, wide);
    await expectKvlrError(() => requireRoom(plan, wasm), 'memory-exceeded', 'at most 2 GiB on wasm for one layer');
    expect(() => requireRoom(plan, { ...wasm, backend: 'cpu' })).not.toThrow();
  });

  it('lets run what needs no layer on a device, and what native code runs', async () => {
    const weightsAlone = { method: 'svd-w', recovery: none, evaluation: { windowsPerSource: 0, windowLength: 33 } };
    const plans = [await planOf(weightsAlone, wide), await planOf({ recovery: none }, wide)];
    expect(() => requireRoom(plans[0]!, wasm)).not.toThrow();
    expect(() => requireRoom(plans[1]!, { ...wasm, native: true })).not.toThrow();
  });
});

it('threads hold a small model whole, and of a large one a layer', async () => {
  const { model } = await planOf({});
  expect(threadBytes(model.shape)).toBeLessThan(2 ** 20);
  const [few, many] = [await planOf({}, { ...wide, numLayers: 2 }), await planOf({}, { ...wide, numLayers: 90 })];
  expect(threadBytes(many.model.shape)).toBe(threadBytes(few.model.shape));
});
