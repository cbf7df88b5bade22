import { access } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { KvlrError } from '@kvlr/core';
import type { ComparisonReport } from '@kvlr/report';
import { type ComparisonRequest, compare } from '../compare.ts';
import { artefactNames } from '../store/run-store.ts';
import { claimRunDirectory } from './claim-output.ts';
import { DirectoryRunStore } from './directory-run-store.ts';

export interface DirectoryComparisonRequest extends Omit<ComparisonRequest, 'store'> {
  /** Directory of the tables, and of what resuming needs. */
  output: string;
  /** Replace a comparison that is complete. */
  overwrite?: boolean;
}

/** `compare` into a directory: comparison.json, .md and .html beside what resuming needs. Throws 'file-exists', 'run-mismatch'. */
export async function compareToDirectory(request: DirectoryComparisonRequest): Promise<ComparisonReport> {
  const { model, overwrite = false } = request;
  const directory = resolve(request.output);
  const finished = join(directory, artefactNames.comparisonData);
  const exists = await access(finished).then(
    () => true,
    () => false,
  );
  if (exists && !overwrite) {
    throw new KvlrError('file-exists', {
      message: `compareToDirectory: expected no comparison at ${finished}, found one`,
      hint: 'Add --overwrite to replace it, or choose another directory with -o.',
      data: { file: finished },
    });
  }
  await claimRunDirectory({ runDirectory: directory, overwrite, modelId: model.id });
  return compare({ ...request, store: new DirectoryRunStore(directory) });
}
