import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  claimPlace,
  holdDirectory,
  markerName,
  type PlaceClaim,
  type PlaceRequest,
  readMarker,
  requireWritable,
} from '@kvlr/checkpoint/node';
import { KvlrError } from '@kvlr/core';
import { parseRecipeYaml } from '../recipe.ts';
import { artefactNames } from '../run/store.ts';

export interface OutputRequest {
  /** Where the checkpoint goes. */
  output: string;
  /** Where what resuming needs is kept. */
  runDirectory: string;
  overwrite: boolean;
  /** Id and location of the model that is compressed. */
  modelId: string;
  modelLocation: string;
}

/** The places of a run, held until they are let go. */
export interface OutputClaim {
  output: PlaceClaim;
  /** The real path. */
  runDirectory: string;
  release(): Promise<void>;
}

/**
 * Holds output and run directory, before any work, for a run whose result may be put there, and can be.
 *
 * @throws KvlrError 'usage' when model, run directory and output are not three places apart; 'file-exists' for an output that exists;
 *   'in-use' while another run has one of them; 'run-mismatch' for a run directory that belongs to another model or is none;
 *   'write-failed' or 'disk-full' where nothing can be written.
 */
export async function claimOutput(request: OutputRequest): Promise<OutputClaim> {
  const { overwrite, runDirectory, modelLocation } = request;
  const model = { name: 'the model', path: modelLocation };
  const apartFrom = [model, { name: 'the run directory', path: runDirectory }];
  const output = await claimPlace({ path: request.output, kind: 'directory', overwrite, apartFrom });
  try {
    const run = await claimRunDirectory({ ...request, apartFrom: [model] });
    try {
      await requireWritable(dirname(output.path));
    } catch (error) {
      await run.release();
      throw error;
    }
    return {
      output,
      runDirectory: run.path,
      async release() {
        await Promise.all([output.release(), run.release()]);
      },
    };
  } catch (error) {
    await output.release();
    throw error;
  }
}

export interface RunDirectoryRequest extends Pick<OutputRequest, 'runDirectory' | 'overwrite' | 'modelId'> {
  /** What the directory may not overlap. */
  apartFrom?: PlaceRequest['apartFrom'];
}

/**
 * Holds a directory that may keep a run of this model: it is empty, or it keeps one already. And that can be written.
 *
 * @throws KvlrError 'usage', 'in-use', 'run-mismatch', 'write-failed', 'disk-full'.
 */
export async function claimRunDirectory(request: RunDirectoryRequest): Promise<Pick<PlaceClaim, 'path' | 'release'>> {
  const { path, release } = await holdDirectory(request.runDirectory, request.apartFrom);
  try {
    await checkRun({ ...request, runDirectory: path });
    await requireWritable(path);
  } catch (error) {
    await release();
    throw error;
  }
  return { path, release };
}

async function checkRun({ runDirectory, overwrite, modelId }: RunDirectoryRequest): Promise<void> {
  const entries = await readdir(runDirectory).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOTDIR') throw noRun(runDirectory, 'a file');
    return [];
  });
  // A run that was killed at its very beginning left half a marker.
  if (entries.every((name) => name === `${markerName}.partial`)) return;
  const marker = await readMarker(runDirectory);
  if (marker?.kind === 'result') throw noRun(runDirectory, 'the result of an earlier one');
  if (marker === undefined) throw noRun(runDirectory, `other files and no ${markerName}`);
  const recipePath = join(runDirectory, artefactNames.recipe);
  const text = await readFile(recipePath, 'utf8').catch(() => undefined);
  if (overwrite || text === undefined || parseRecipeYaml(text, recipePath).source?.modelId === modelId) return;
  throw new KvlrError('run-mismatch', {
    message: 'expected a run of this model, found a run of another one',
    hint: 'Choose another run directory, or allow overwriting to let it go.',
    where: { file: runDirectory },
    data: { file: runDirectory, modelId, replaceable: true },
  });
}

function noRun(runDirectory: string, found: string): KvlrError {
  return new KvlrError('run-mismatch', {
    message: `expected a run directory of kvlr, found ${found}`,
    hint: 'Choose another run directory.',
    where: { file: runDirectory },
    data: { file: runDirectory, replaceable: false },
  });
}
