import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatRecipeYaml, parseRecipe } from '../recipe.ts';
import { claimOutput, type OutputClaim } from './claim-output.ts';

describe('claimOutput', () => {
  let directory: string;
  let claim: OutputClaim;

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

  it('takes a free place', async () => {
    await claimOutput(claim);
  });

  it('refuses an earlier result, and replaces it only when told to', async () => {
    await mkdir(claim.output);
    await writeFile(join(claim.output, 'recipe.yaml'), recipeOf('this'));
    await expect(claimOutput(claim)).rejects.toMatchObject({ code: 'file-exists' });
    await claimOutput({ ...claim, overwrite: true });
  });

  it('never replaces what kvlr did not make', async () => {
    await mkdir(claim.output);
    await writeFile(join(claim.output, 'thesis.tex'), 'years of work');
    await expect(claimOutput({ ...claim, overwrite: true })).rejects.toMatchObject({ code: 'file-exists' });
  });

  it('refuses an output that is the model, or holds it, or lies in it', async () => {
    for (const modelLocation of [claim.output, join(claim.output, 'model'), directory]) {
      await expect(claimOutput({ ...claim, modelLocation, overwrite: true })).rejects.toMatchObject({ code: 'usage' });
    }
  });

  it.runIf(process.platform === 'linux')('refuses a place where nothing can be made', async () => {
    const nowhere = '/proc/kvlr/out';
    await expect(claimOutput({ ...claim, output: nowhere })).rejects.toMatchObject({ code: 'write-failed' });
    await expect(claimOutput({ ...claim, runDirectory: nowhere })).rejects.toMatchObject({ code: 'write-failed' });
  });

  it('resumes a run of the same model', async () => {
    await mkdir(claim.runDirectory);
    await writeFile(join(claim.runDirectory, 'recipe.yaml'), recipeOf('this'));
    await claimOutput(claim);
  });

  it('refuses a run of another model unless told to overwrite, and a directory that is no run at all', async () => {
    await mkdir(claim.runDirectory);
    await writeFile(join(claim.runDirectory, 'recipe.yaml'), recipeOf('another'));
    await expect(claimOutput(claim)).rejects.toMatchObject({ code: 'run-mismatch' });
    await claimOutput({ ...claim, overwrite: true });
    await rm(join(claim.runDirectory, 'recipe.yaml'));
    await writeFile(join(claim.runDirectory, 'notes.txt'), 'mine');
    await expect(claimOutput({ ...claim, overwrite: true })).rejects.toMatchObject({ code: 'run-mismatch' });
  });
});
