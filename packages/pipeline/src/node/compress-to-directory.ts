import { resolve } from 'node:path';
import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { type CompressionRequest, type CompressionResult, compress } from '../compress.ts';
import { readLicence } from '../models/read-licence.ts';
import { artefactNames } from '../store/run-store.ts';
import { claimOutput } from './claim-output.ts';
import { DirectoryRunStore } from './directory-run-store.ts';

export interface DirectoryCompressionRequest extends Omit<CompressionRequest, 'store' | 'write'> {
  model: HuggingFaceCheckpoint;
  /** Directory of the result. It appears when it is complete. */
  output: string;
  /** Directory that keeps what resuming needs. Default: the output with `.run` behind it. */
  runDirectory?: string;
  /** Replace an earlier result. It stays until the new one is complete. */
  overwrite?: boolean;
  maxShardBytes?: number;
}

/** `compress` from files to files: checks that the output may be written, resumes, and writes it last. */
export async function compressToDirectory(request: DirectoryCompressionRequest): Promise<CompressionResult> {
  const { model, overwrite = false, maxShardBytes } = request;
  const output = resolve(request.output);
  const runDirectory = runDirectoryOf(request);
  await claimOutput({ output, runDirectory, overwrite, modelId: model.id, modelLocation: model.location });
  return compress({
    ...request,
    modelLicence: request.modelLicence ?? (await readLicence(model.files)),
    store: new DirectoryRunStore(runDirectory),
    write: async ({ model: compressed, dtype, recipeYaml, modelCard }) => {
      await writeCheckpointDirectory(output, compressed, {
        source: model,
        dtype,
        maxShardBytes,
        overwrite,
        extraFiles: { [artefactNames.recipe]: recipeYaml, 'README.md': modelCard },
        onEvent: request.onEvent,
        signal: request.signal,
      });
    },
  });
}

/** Where a run with this output keeps its artefacts. */
export function runDirectoryOf({ output, runDirectory }: { output: string; runDirectory?: string }): string {
  return resolve(runDirectory ?? `${output.replace(/[/\\]+$/, '')}.run`);
}
