import { createBrowserFiles } from '../files/browser-files.ts';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { createUrlFiles } from '../files/url-files.ts';
import type { HubAccess } from '../hub/hub-access.ts';
import { createHubFiles } from '../hub/hub-files.ts';
import { parseHubId } from '../hub/hub-id.ts';
import { type HuggingFaceCheckpoint, type OpenCheckpointSettings, openCheckpoint } from '../model/open-checkpoint.ts';
import { type CheckpointLocation, isAddress, unknownLocation } from './checkpoint-location.ts';

export interface OpenSourceSettings extends OpenCheckpointSettings, HubAccess {}

/**
 * Opens a checkpoint wherever it lies: below a URL ('https://...', or './models/mine' beside the page), on the hub
 * ('owner/name'), or in files that a user chose. Weights are read by byte range when they are asked for.
 * Throws what `openCheckpoint` throws, and 'access-denied', 'network'.
 */
export function openSource(
  location: CheckpointLocation,
  settings: OpenSourceSettings = {},
): Promise<HuggingFaceCheckpoint> {
  return openCheckpoint(filesAt(location, settings), settings);
}

function filesAt(location: CheckpointLocation, settings: OpenSourceSettings): CheckpointFiles {
  if (location instanceof URL) return createUrlFiles(location.href, { fetch: settings.fetch });
  if (typeof location !== 'string') return 'read' in location ? location : createBrowserFiles(location);
  if (isAddress(location) || /^\.{0,2}\//.test(location)) return createUrlFiles(location, { fetch: settings.fetch });
  if (parseHubId(location) !== undefined) return createHubFiles(location, settings);
  throw unknownLocation(location, 'a URL, or the id of a model on the hub (owner/name)');
}
