import { resolve } from 'node:path';
import { writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { type CheckpointRecoveryRequest, type CheckpointRecoveryResult, recoverCheckpoint } from '../recover.ts';
import { artefactNames } from '../store/run-store.ts';
import { claimOutput } from './claim-output.ts';
import { runDirectoryOf } from './compress-to-directory.ts';
import { DirectoryRunStore } from './directory-run-store.ts';

export interface DirectoryRecoveryRequest extends Omit<CheckpointRecoveryRequest, 'store' | 'write'> {
  /** Directory of the result. It appears when it is complete. */
  output: string;
  /** Directory that keeps what resuming needs. Default: the output with `.run` behind it. */
  runDirectory?: string | undefined;
  /** Replace an earlier result. It stays until the new one is complete. */
  overwrite?: boolean | undefined;
}

/** `recoverCheckpoint` from files to files: checks that the output may be written, resumes, and writes it last. */
export async function recoverToDirectory(request: DirectoryRecoveryRequest): Promise<CheckpointRecoveryResult> {
  const { model, overwrite = false } = request;
  const output = resolve(request.output);
  const runDirectory = runDirectoryOf(request);
  await claimOutput({ output, runDirectory, overwrite, modelId: model.id, modelLocation: model.location });
  return recoverCheckpoint({
    ...request,
    store: new DirectoryRunStore(runDirectory),
    write: async ({ model: recovered, dtype, recipeYaml, modelCard }) => {
      await writeCheckpointDirectory(output, recovered, {
        source: model,
        dtype,
        overwrite,
        extraFiles: { [artefactNames.recipe]: recipeYaml, 'README.md': modelCard },
        onEvent: request.onEvent,
        signal: request.signal,
      });
    },
  });
}
