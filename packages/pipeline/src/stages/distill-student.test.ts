import type { KvlrEvent } from '@kvlr/core';
import { expect, it } from 'vitest';
import { type CompressionRequest, compress } from '../compress.ts';
import { MemoryRunStore } from '../store/memory-run-store.ts';
import { openTinyCheckpoint, tinyRecipe, tinyTexts } from '../testing/tiny-run.ts';

const distillation = {
  preset: 'light',
  steps: 4,
  warmupSteps: 1,
  piecesPerStep: 1,
  evaluateEvery: 1,
  windowLength: 32,
};
const recipe = { ...tinyRecipe, recovery: { ...tinyRecipe.recovery, distillation } } as CompressionRequest['recipe'];

async function request(changes: Partial<CompressionRequest> = {}): Promise<CompressionRequest> {
  return { model: await openTinyCheckpoint(), recipe, texts: tinyTexts, runtime: { backend: 'cpu' }, ...changes };
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
  expect(first.report.notes?.join()).toMatch(/Distilled on 128 tokens: KL divergence on held-out calibration text/);
  expect(await store.list()).toContain('6-distillation/trained.safetensors');
  expect(await store.list()).not.toContain('6-distillation/checkpoint.safetensors');
  const second = await compress(await request({ store }));
  expect(recoveries(second).map(([, skipped]) => skipped)).toEqual([true, true]);
  expect(second.judgement).toEqual(first.judgement);
});

it('leaves the artefacts of a recipe without distillation as they are', async () => {
  const store = new MemoryRunStore();
  await compress(await request({ store, recipe: tinyRecipe }));
  const result = await compress(await request({ store }));
  expect(recoveries(result).map(([, skipped]) => skipped)).toEqual([true, false]);
  const judged = result.stages.find(({ stage }) => stage === 'evaluation');
  expect(judged?.skipped).toBe(false);
});

it('stops when told to, and goes on behind its last checkpoint to the same result', async () => {
  const uninterrupted = await compress(await request());
  const store = new MemoryRunStore();
  const stop = new AbortController();
  let distilling = false;
  const onEvent = (event: KvlrEvent) => {
    if (event.type === 'stage-started') distilling = event.title.startsWith('Distillation');
    if (distilling && event.type === 'progress' && event.completed === 3) stop.abort();
  };
  await expect(compress(await request({ store, onEvent, signal: stop.signal }))).rejects.toMatchObject({
    code: 'aborted',
  });
  expect(await store.list()).toContain('6-distillation/checkpoint.safetensors');
  const steps: number[] = [];
  const resumed = await compress(
    await request({
      store,
      onEvent: (event) => {
        if (event.type === 'progress' && event.stage === 'recovery') steps.push(event.completed);
      },
    }),
  );
  expect(steps).toEqual([4]);
  expect(resumed.judgement).toEqual(uninterrupted.judgement);
  expect(resumed.stages.find(({ title }) => title.startsWith('Distillation'))!.earlierSeconds).toBeGreaterThan(0);
});
