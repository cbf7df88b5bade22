import { access, readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { requireWritable } from '@kvlr/checkpoint/node';
import { KvlrError } from '@kvlr/core';
import { parseRecipeYaml } from '../recipe.ts';
import { artefactNames } from '../run/store.ts';

export interface OutputClaim {
  /** Where the checkpoint goes. */
  output: string;
  /** Where what resuming needs is kept. */
  runDirectory: string;
  overwrite: boolean;
  /** Id and location of the model that is compressed. */
  modelId: string;
  modelLocation: string;
}

/**
 * Checks, before any work, that the result may be put where it was asked for, and can be. Nothing stays or goes by it.
 *
 * @throws KvlrError 'usage' when the output is the model itself or the run directory; 'file-exists' for an output that
 *   exists; 'run-mismatch' for a run directory that belongs to another model or is none; 'write-failed' or 'disk-full'
 *   where nothing can be written.
 */
export async function claimOutput(claim: OutputClaim): Promise<void> {
  const { output, runDirectory, modelLocation } = claim;
  for (const [name, path] of [
    ['the model', modelLocation],
    ['the run directory', runDirectory],
  ] as const) {
    if (isInside(output, path) || isInside(path, output)) {
      throw new KvlrError('usage', {
        message: `expected an output apart from ${name}, got ${output} and ${path}`,
        hint: 'Choose another directory for the output.',
        where: { argument: 'output' },
        data: { output, path },
      });
    }
  }
  if (await exists(output)) await checkReplaceable(output, claim.overwrite);
  await claimRunDirectory(claim);
  await requireWritable(dirname(output));
}

async function checkReplaceable(output: string, overwrite: boolean): Promise<void> {
  const made = await exists(join(output, artefactNames.recipe));
  if (overwrite && made) return;
  throw new KvlrError('file-exists', {
    message: `expected nothing here, found ${made ? 'an earlier result' : 'something that kvlr did not make'}`,
    hint: made
      ? 'Allow overwriting it, or choose another place for the output.'
      : 'Choose another place for the output: only what kvlr has written is ever replaced.',
    where: { file: output },
    data: { file: output, replaceable: made },
  });
}

/**
 * Checks that a directory may keep a run of this model: it is empty, or it keeps one already. And that it can be written.
 *
 * @throws KvlrError 'run-mismatch', 'write-failed', 'disk-full'.
 */
export async function claimRunDirectory(
  claim: Pick<OutputClaim, 'runDirectory' | 'overwrite' | 'modelId'>,
): Promise<void> {
  await checkRun(claim);
  await requireWritable(claim.runDirectory);
}

async function checkRun({
  runDirectory,
  overwrite,
  modelId,
}: Pick<OutputClaim, 'runDirectory' | 'overwrite' | 'modelId'>): Promise<void> {
  const entries = await readdir(runDirectory).catch(() => []);
  if (entries.length === 0) return;
  const recipePath = join(runDirectory, artefactNames.recipe);
  const text = await readFile(recipePath, 'utf8').catch(() => undefined);
  if (text === undefined) {
    throw new KvlrError('run-mismatch', {
      message: 'expected a run directory of kvlr, found other files and no recipe.yaml',
      hint: 'Choose another run directory.',
      where: { file: runDirectory },
      data: { file: runDirectory, replaceable: false },
    });
  }
  if (overwrite || parseRecipeYaml(text, recipePath).source?.modelId === modelId) return;
  throw new KvlrError('run-mismatch', {
    message: 'expected a run of this model, found a run of another one',
    hint: 'Choose another run directory, or allow overwriting to let it go.',
    where: { file: runDirectory },
    data: { file: runDirectory, modelId, replaceable: true },
  });
}

/** True when `path` is `directory` or lies below it. */
function isInside(path: string, directory: string): boolean {
  const way = relative(resolve(directory), resolve(path));
  return way === '' || !(way.startsWith('..') || resolve(path) === way);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
