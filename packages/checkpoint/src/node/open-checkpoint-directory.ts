import { type HuggingFaceCheckpoint, type OpenCheckpointSettings, openCheckpoint } from '../model/open-checkpoint.ts';
import { createDirectoryFiles } from './directory-files.ts';

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
