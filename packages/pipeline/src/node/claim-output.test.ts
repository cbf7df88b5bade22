import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createTinyModel } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatRecipeYaml, parseRecipe } from '../recipe.ts';
import { claimOutput, type OutputRequest } from './claim-output.ts';
import { DirectoryRunStore } from './directory-run-store.ts';

describe('claimOutput', () => {
  let directory: string;
  let claim: OutputRequest;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kvlr-claim-'));
    claim = {
      output: join(directory, 'out'),
      runDirectory: join(directory, 'out.run'),
      overwrite: false,
      modelId: 'this',
      modelLocation: join(directory, 'model'),
    };
  });
  afterEach(() => rm(directory, { recursive: true }));

  const recipeOf = (modelId: string) =>
    formatRecipeYaml(parseRecipe({ source: { modelId, location: 'somewhere', calibrationHash: '' } }));

  const take = async (changed: Partial<OutputRequest> = {}) => {
    const held = await claimOutput({ ...claim, ...changed });
    await held.release();
  };
  const makeRun = (modelId: string) =>
    new DirectoryRunStore(claim.runDirectory).write('recipe.yaml', new TextEncoder().encode(recipeOf(modelId)));

  it('takes a free place, and once', async () => {
    const held = await claimOutput(claim);
    await expect(take()).rejects.toMatchObject({ code: 'in-use', data: { process: process.pid } });
    await expect(take({ output: `${claim.output}2` })).rejects.toMatchObject({ code: 'in-use' });
    await held.release();
    await take();
  });

  it('refuses an earlier result, and replaces it only when told to', async () => {
    await writeCheckpointDirectory(claim.output, createTinyModel());
    await expect(take()).rejects.toMatchObject({ code: 'file-exists' });
    await take({ overwrite: true });
  });

  it('refuses an earlier result as run directory', async () => {
    await writeCheckpointDirectory(claim.runDirectory, createTinyModel(), {
      extraFiles: { 'recipe.yaml': recipeOf('this') },
    });
    await expect(take({ overwrite: true })).rejects.toMatchObject({
      code: 'run-mismatch',
      data: { replaceable: false },
    });
  });

  it('never replaces what kvlr did not make', async () => {
    await mkdir(claim.output);
    await writeFile(join(claim.output, 'thesis.tex'), 'years of work');
    await expect(take({ overwrite: true })).rejects.toMatchObject({ code: 'file-exists' });
  });

  it('refuses an output that is the model, or holds it, or lies in it', async () => {
    await mkdir(join(claim.output, 'model'), { recursive: true });
    for (const modelLocation of [claim.output, join(claim.output, 'model'), directory]) {
      await expect(take({ modelLocation, overwrite: true })).rejects.toMatchObject({ code: 'usage' });
    }
  });

  it.runIf(process.platform === 'linux')('refuses a place where nothing can be made', async () => {
    const nowhere = '/proc/kvlr/out';
    await expect(take({ output: nowhere })).rejects.toMatchObject({ code: 'write-failed' });
    await expect(take({ runDirectory: nowhere })).rejects.toMatchObject({ code: 'write-failed' });
  });

  it('resumes a run of the same model', async () => {
    await makeRun('this');
    await take();
  });

  it('refuses a run of another model unless told to overwrite, and a directory that is no run at all', async () => {
    await makeRun('another');
    await expect(take()).rejects.toMatchObject({ code: 'run-mismatch' });
    await take({ overwrite: true });
    await rm(claim.runDirectory, { recursive: true });
    await mkdir(claim.runDirectory);
    await writeFile(join(claim.runDirectory, 'recipe.yaml'), 'mine');
    await expect(take({ overwrite: true })).rejects.toMatchObject({ code: 'run-mismatch' });
  });
});
