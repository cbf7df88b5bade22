import { KvlrError, type StatisticsProvenance } from '@kvlr/core';
import {
  type CalibrationRunRequest,
  calibrate,
  type KeptStatistics,
  mergeStatisticsStores,
  readStatistics,
} from '../calibrate.ts';
import { claimRunDirectory } from './claim-output.ts';
import { DirectoryRunStore } from './directory-run-store.ts';
import { watchSource } from './watch-source.ts';

export interface DirectoryCalibrationRequest extends Omit<CalibrationRunRequest, 'store' | 'checkSource'> {
  /** Directory of the statistics; a run that was cut goes on in it. */
  output: string;
  /** Let statistics of another model or other windows go that lie there. */
  overwrite?: boolean | undefined;
}

/** `calibrate` into a directory. Throws 'run-mismatch' and 'in-use' besides. */
export async function calibrateToDirectory(request: DirectoryCalibrationRequest): Promise<StatisticsProvenance> {
  const { model, output, overwrite = false } = request;
  const apartFrom = [{ name: 'the model', path: model.location }];
  const claim = await claimRunDirectory({ runDirectory: output, overwrite, modelId: model.id, apartFrom });
  try {
    const store = new DirectoryRunStore(claim.path);
    const checkSource = await watchSource(store, model.location, overwrite);
    return await calibrate({ ...request, store, ...(checkSource && { checkSource }) });
  } finally {
    await claim.release();
  }
}

/** `mergeStatisticsStores` of directories into another. Throws 'run-mismatch', 'in-use', 'file-missing', and 'file-exists' for one that is full. */
export async function mergeStatisticsDirectories(
  parts: readonly string[],
  { output, overwrite = false }: { output: string; overwrite?: boolean | undefined },
): Promise<StatisticsProvenance> {
  const stores = parts.map((name) => ({ name, store: new DirectoryRunStore(name) }));
  const apartFrom = parts.map((path) => ({ name: 'a part', path }));
  const claim = await claimRunDirectory({ runDirectory: output, overwrite, modelId: '', apartFrom });
  try {
    const merged = new DirectoryRunStore(claim.path);
    if (!overwrite && (await merged.list()).length > 0) {
      throw new KvlrError('file-exists', {
        message: 'expected no statistics, found some',
        hint: 'Allow overwriting them, or choose another directory.',
        where: { file: output },
        data: { file: output, replaceable: true },
      });
    }
    return await mergeStatisticsStores(stores, merged);
  } finally {
    await claim.release();
  }
}

/** Statistics in a directory of `calibrateToDirectory` or `mergeStatisticsDirectories`. Throws 'file-missing'. */
export function openStatistics(directory: string): Promise<KeptStatistics> {
  return readStatistics(new DirectoryRunStore(directory), directory);
}
