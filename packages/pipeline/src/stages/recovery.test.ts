import { CalibrationText } from '@kvlr/calibration';
import type { KvlrEvent } from '@kvlr/core';
import { expect, it } from 'vitest';
import { type CompressionRequest, compress } from '../compress.ts';
import { MemoryRunStore } from '../run/store.ts';
import { stopAt, tinyDistillation, tinyRecipe, tinyRun } from '../testing/tiny-run.ts';
import { reconstructionWindows } from './recovery.ts';

const recipe = { ...tinyRecipe, recovery: { ...tinyRecipe.recovery, distillation: tinyDistillation } };

async function request(changes: Partial<CompressionRequest> = {}): Promise<CompressionRequest> {
  return { ...(await tinyRun()), recipe, ...changes };
}

const recoveries = ({ stages }: Awaited<ReturnType<typeof compress>>) =>
  stages.filter(({ stage }) => stage === 'recovery').map(({ title, skipped }) => [title, skipped]);

it('trains behind the reconstruction, and is skipped when it is done', async () => {
  const store = new MemoryRunStore();
  const first = await compress(await request({ store }));
  expect(recoveries(first)).toEqual([
    ['Block reconstruction (light)', false],
    ['Distillation (light)', false],
  ]);
  expect(first.report.notes?.join()).toMatch(/Distilled on 128 tokens: KL divergence on held-out text/);
  expect(await store.list()).toContain('6-distillation/trained.safetensors');
  expect(await store.list()).not.toContain('6-distillation/checkpoint.safetensors');
  const second = await compress(await request({ store }));
  expect(recoveries(second).map(([, skipped]) => skipped)).toEqual([true, true]);
  expect(second.evaluation).toEqual(first.evaluation);
});

it('leaves the artefacts of a recipe without distillation as they are', async () => {
  const store = new MemoryRunStore();
  await compress(await request({ store, recipe: tinyRecipe }));
  const result = await compress(await request({ store }));
  expect(recoveries(result).map(([, skipped]) => skipped)).toEqual([true, false]);
  const evaluated = result.stages.find(({ stage }) => stage === 'evaluation');
  expect(evaluated?.skipped).toBe(false);
});

it('stops when told to, and goes on behind its last checkpoint to the same result', async () => {
  const uninterrupted = await compress(await request());
  const store = new MemoryRunStore();
  const stopped = await request({ store, ...stopAt('Distillation', 3) });
  await expect(compress(stopped)).rejects.toMatchObject({ code: 'aborted' });
  expect(await store.list()).toContain('6-distillation/checkpoint.safetensors');
  const events: KvlrEvent[] = [];
  const resumed = await compress(await request({ store, onEvent: (event) => events.push(event) }));
  const steps = events.filter((event) => event.type === 'progress' && event.stage === 'recovery');
  expect(steps).toMatchObject([{ completed: 4 }]);
  expect(resumed.evaluation).toEqual(uninterrupted.evaluation);
  expect(resumed.stages.find(({ title }) => title.startsWith('Distillation'))!.earlierSeconds).toBeGreaterThan(0);
});

it('takes the windows that the text has room for, unless the recipe names a number', async () => {
  const { model, texts } = await tinyRun();
  const text = new CalibrationText(texts.calibration, await model.tokenizer());
  const room = (windows: number) => Math.floor(text.tokenIds.length / windows);
  const windowsOf = (windowLength: number, trainingWindows?: number) =>
    reconstructionWindows(text, {
      preset: 'light',
      windowLength,
      seed: 0,
      ...(trainingWindows && { trainingWindows }),
    });
  expect(windowsOf(room(220))!.training).toHaveLength(192);
  const few = windowsOf(room(70))!;
  expect(few.training.length).toBeGreaterThanOrEqual(62);
  expect(few.training.length).toBeLessThan(192);
  expect(few.heldOut).toHaveLength(8);
  expect(() => windowsOf(room(70), 192)).toThrow('tokens in the text');
  expect(() => windowsOf(room(40))).toThrow('tokens in the text');
});
