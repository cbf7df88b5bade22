import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import type { EventListener } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { afterAll, describe, expect, it } from 'vitest';
import { recoverToDirectory } from './node/to-directory.ts';
import { parseRecipe } from './recipe.ts';
import { type CheckpointRecoveryRequest, recoverCheckpoint } from './recover.ts';
import { MemoryRunStore } from './run/store.ts';
import {
  openTinyCheckpoint,
  skippedStages,
  stopAt,
  tinyDistillation,
  tinyRecipe,
  tinyTexts,
} from './testing/tiny-run.ts';

const directory = await mkdtemp(join(tmpdir(), 'kvlr-recover-'));
afterAll(() => rm(directory, { recursive: true }));

const distillation = { ...tinyDistillation, steps: 3 };
const recoveryOf = (recovery: object): Recipe['recovery'] =>
  parseRecipe({ ...tinyRecipe, recovery: { ...tinyRecipe.recovery, ...recovery } }).recovery;

async function request(changes: Partial<CheckpointRecoveryRequest> = {}): Promise<CheckpointRecoveryRequest> {
  return {
    model: await openTinyCheckpoint({ numKeyValueHeads: 2 }),
    teacher: await openTinyCheckpoint(),
    recovery: recoveryOf({ preset: 'none', distillation }),
    evaluation: parseRecipe(tinyRecipe).evaluation,
    texts: tinyTexts,
    runtime: { backend: 'cpu' },
    ...changes,
  };
}

describe('recoverCheckpoint', () => {
  it('brings a checkpoint nearer to its teacher, and is skipped when it is done', async () => {
    const store = new MemoryRunStore();
    const { evaluation, course } = await recoverCheckpoint(await request({ store }));
    expect(course!.best.heldOutLoss).toBeLessThan(course!.points[0]!.heldOutLoss);
    expect(evaluation.result.againstBase!.basePerplexity.value).toBeCloseTo(evaluation.base.perplexity.value, 6);
    const again = await recoverCheckpoint(await request({ store }));
    expect(again.evaluation).toEqual(evaluation);
    expect(skippedStages(again.stages)).toEqual(['recovery', 'evaluation']);
    const other = await recoverCheckpoint(await request({ store, teacher: await openTinyCheckpoint({ seed: 2 }) }));
    expect(other.stages.some(({ skipped }) => skipped)).toBe(false);
  });

  it('reconstructs blocks first where that is asked for', async () => {
    const { stages } = await recoverCheckpoint(await request({ recovery: recoveryOf({ distillation }) }));
    expect(stages.map(({ title }) => title)).toEqual([
      'Block reconstruction (light)',
      'Distillation (light)',
      'Perplexity and KL divergence against the original',
      'Report',
    ]);
  });

  it('asks the teacher once for its likeliest tokens, also when the run is cut, and lets them go at the end', async () => {
    const recovery = recoveryOf({ preset: 'none', distillation: { ...distillation, topTokens: 8, adapterRank: 2 } });
    const whole = await recoverCheckpoint(await request({ recovery }));
    const store = new MemoryRunStore();
    const cut = request({ recovery, store, ...stopAt('Distillation', 2) });
    await expect(recoverCheckpoint(await cut)).rejects.toMatchObject({ code: 'aborted' });
    expect(await store.list()).toContain('6-distillation/teacher/training-0.safetensors');
    const { course } = await recoverCheckpoint(await request({ recovery, store }));
    expect(course).toEqual(whole.course);
    const left = await store.list();
    expect(left.filter((name) => name.startsWith('6-distillation/'))).toEqual([
      '6-distillation/adapter/adapter_config.json',
      '6-distillation/adapter/adapter_model.safetensors',
      '6-distillation/trained.safetensors',
    ]);
  });

  it('tells what training takes before it starts, and shows its course', async () => {
    const notes: string[] = [];
    const onEvent: EventListener = (event) => event.type === 'note' && notes.push(event.message);
    const { report, course } = await recoverCheckpoint(await request({ onEvent }));
    expect(notes.join()).toMatch(/Training: 3 steps of 32 tokens, about .+ s each and .+ in all on cpu .+ of memory/);
    expect(report.training!.readings.map(({ tokens }) => tokens)).toEqual(course!.points.map(({ tokens }) => tokens));
  });

  it('refuses to train nothing, to evaluate nothing, and a teacher that reads other tokens', async () => {
    const evaluation = { windowsPerSource: 0, windowLength: 33 };
    await expect(recoverCheckpoint(await request({ evaluation }))).rejects.toMatchObject({ code: 'recipe-invalid' });
    await expect(recoverCheckpoint(await request({ recovery: recoveryOf({ preset: 'none' }) }))).rejects.toMatchObject({
      code: 'recipe-invalid',
    });
    const teacher = await openTinyCheckpoint();
    const foreign = { ...teacher, tokenizer: async () => ({ ...(await teacher.tokenizer()), encode: () => [5] }) };
    await expect(recoverCheckpoint(await request({ teacher: foreign as typeof teacher }))).rejects.toMatchObject({
      code: 'tokenizer-mismatch',
    });
  });
});

describe('recoverToDirectory', () => {
  it('writes a checkpoint with the trained tensors and the recipe', async () => {
    const output = join(directory, 'recovered');
    const first = await request();
    const { evaluation } = await recoverToDirectory({ ...first, output });
    const written = await openCheckpointDirectory(output);
    expect(written.shape).toEqual(first.model.shape);
    const name = written.tensorName('queryWeight', 0);
    expect(await written.tensors.readFloat32(name)).not.toEqual(await first.model.tensors.readFloat32(name));
    const untouched = written.tensorName('upWeight', 0);
    expect(await written.tensors.readFloat32(untouched)).toEqual(await first.model.tensors.readFloat32(untouched));
    const card = new TextDecoder().decode(await written.files.read('README.md'));
    expect(card).toContain('Distilled on 96 tokens');
    await written.close();
    await expect(recoverToDirectory({ ...first, output })).rejects.toMatchObject({ code: 'file-exists' });
    const again = await recoverToDirectory({ ...first, output, overwrite: true });
    expect(again.evaluation).toEqual(evaluation);
  });
});
