import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { KvlrError, type RunControl } from '@kvlr/core';
import { parseHubId } from '../files/hub.ts';
import {
  type CheckpointLocation,
  type HuggingFaceCheckpoint,
  isAddress,
  type OpenCheckpointSettings,
  openCheckpoint,
  openSource as openSourceAnywhere,
  unknownLocation,
} from '../model/open.ts';
import { createDirectoryFiles } from './directory.ts';
import { downloadHubModel, type HubDownloadSettings } from './hub-cache.ts';

export interface OpenSourceSettings extends OpenCheckpointSettings, HubDownloadSettings, RunControl {}

/**
 * Opens a checkpoint wherever it lies: a directory, the id of a model on the hub (owner/name, kept in the cache on disk), a
 * URL, chosen files. A directory of that name comes before the hub.
 * Throws 'file-malformed' for a file, and what `openCheckpoint` and `downloadHubModel` throw.
 */
export async function openSource(
  location: CheckpointLocation,
  settings: OpenSourceSettings = {},
): Promise<HuggingFaceCheckpoint> {
  if (location instanceof URL && location.protocol === 'file:') return openSource(fileURLToPath(location), settings);
  if (typeof location !== 'string' || isAddress(location)) return openSourceAnywhere(location, settings);
  const found = await stat(location).catch(() => undefined);
  if (found?.isDirectory()) return openCheckpointDirectory(location, settings);
  if (found !== undefined) throw fileInPlaceOfDirectory(location);
  const forms = 'a directory, the id of a model on the hub (owner/name), or a URL';
  if (parseHubId(location) === undefined) throw unknownLocation(location, forms);
  try {
    return await openCheckpointDirectory(await downloadHubModel(location, settings), settings);
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.data.id !== location) throw error;
    throw new KvlrError(error.code, {
      message: `${error.message} (and there is no directory of that name)`,
      hint: error.hint,
      data: error.data,
      cause: error,
    });
  }
}

function fileInPlaceOfDirectory(location: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected the directory of a checkpoint, got the file ${location}`,
    hint: 'Name the directory that holds config.json, tokenizer.json and *.safetensors side by side.',
    data: { location },
  });
}

/** Opens the checkpoint in a directory; see `openCheckpoint`. Close it to free the file handles. */
export async function openCheckpointDirectory(
  directory: string,
  settings: OpenCheckpointSettings = {},
): Promise<HuggingFaceCheckpoint> {
  const files = createDirectoryFiles(directory);
  try {
    return await openCheckpoint(files, settings);
  } catch (error) {
    await files.close?.();
    throw error;
  }
}
