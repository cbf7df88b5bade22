import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KvlrError, type RunControl, throwIfAborted } from '@kvlr/core';
import { fileMissing } from '../files/file-errors.ts';
import { isCheckpointFile } from '../hub/checkpoint-file-names.ts';
import { type HubAccess, hubParameters } from '../hub/hub-access.ts';
import { hubError } from '../hub/hub-error.ts';
import { requireHubId } from '../hub/hub-id.ts';
import { checkFreeSpace } from './check-free-space.ts';
import { downloadHubFile, type HubFile } from './download-hub-file.ts';
import { requireWritable } from './require-writable.ts';

export interface HubDownloadSettings extends HubAccess, RunControl {
  /** Where models are kept. Default: the cache that all Hugging Face tools share (HF_HUB_CACHE, HF_HOME). */
  cacheDirectory?: string;
}

/**
 * Brings a model of the Hugging Face hub (owner/name, or owner/name@revision) into the cache on disk and returns the
 * directory of its files. Only what a checkpoint consists of is loaded; what is there already, whoever put it there, is not
 * loaded again. Without a connection the last complete copy of that revision is used, with a warning.
 * HF_ENDPOINT and HF_TOKEN are honoured.
 *
 * Throws 'access-denied', 'file-missing', 'network', 'file-truncated', 'file-malformed', 'disk-full', 'write-failed',
 * 'aborted'. What was loaded before an error stays, and the next call goes on from there.
 */
export async function downloadHubModel(id: string, settings: HubDownloadSettings = {}): Promise<string> {
  const { name, revision } = requireHubId(id);
  const hub = await import('@huggingface/hub');
  const { hubUrl = process.env.HF_ENDPOINT, accessToken = process.env.HF_TOKEN, onEvent, signal } = settings;
  const parameters = hubParameters({
    ...settings,
    hubUrl: hubUrl?.replace(/\/+$/, ''),
    accessToken: accessToken === '' ? undefined : accessToken,
  });
  const cache = settings.cacheDirectory ?? hub.getHFHubCachePath();
  const storage = join(cache, hub.getRepoFolderName({ type: 'model', name }));
  const reference = join(storage, 'refs', revision);

  let commit: string;
  try {
    ({ sha: commit } = await hub.modelInfo({ ...parameters, name, revision, additionalFields: ['sha'] }));
  } catch (cause) {
    const error = hubError(cause, id);
    const kept = error.code === 'network' ? await keptSnapshot(storage, reference) : undefined;
    if (kept === undefined) throw error;
    onEvent?.({
      type: 'warning',
      message: `The hub does not answer: ${id} is taken from ${cache}, as it was last loaded.`,
    });
    return kept;
  }

  const snapshot = join(storage, 'snapshots', commit);
  const request = { ...parameters, repo: name, revision: commit };
  try {
    const files: HubFile[] = [];
    for await (const entry of hub.listFiles(request)) {
      if (entry.type !== 'file' || !isCheckpointFile(entry.path)) continue;
      const hash = entry.lfs?.oid ?? entry.oid;
      if (hash === undefined || !/^[\w-]+$/.test(hash)) continue;
      files.push({
        name: entry.path,
        size: entry.size,
        sha256: entry.lfs?.oid,
        blobPath: join(storage, 'blobs', hash),
        snapshotPath: join(snapshot, entry.path),
        async fetch() {
          const blob = await hub.downloadFile({ ...request, path: entry.path });
          if (blob === null) throw fileMissing(id, entry.path);
          return blob;
        },
      });
    }
    requireWeights(id, files);
    await downloadAll(id, files, { onEvent, signal });
  } catch (cause) {
    throw hubError(cause, id);
  }
  await mkdir(dirname(reference), { recursive: true });
  await writeFile(reference, commit);
  return snapshot;
}

async function downloadAll(id: string, files: readonly HubFile[], { onEvent, signal }: RunControl): Promise<void> {
  const missing: HubFile[] = [];
  for (const file of files) {
    if (!(await isThere(file.snapshotPath))) missing.push(file);
  }
  if (missing.length === 0) return;
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  const blobs = dirname(missing[0]!.blobPath);
  await requireWritable(blobs);
  await mkdir(blobs, { recursive: true });
  await checkFreeSpace(missing[0]!.blobPath, total);
  onEvent?.({ type: 'note', message: `Loading ${id}: ${missing.length} files into the cache` });
  let completed = 0;
  for (const file of missing) {
    throwIfAborted(signal);
    await downloadHubFile(file, (bytes) => {
      throwIfAborted(signal);
      completed += bytes;
      onEvent?.({ type: 'progress', stage: 'inspect', completed, total, unit: 'bytes', detail: file.name });
    });
  }
}

/** Refuses before anything is loaded when the model has no weights in a form that is read. */
function requireWeights(id: string, files: readonly HubFile[]): void {
  if (files.some(({ name }) => name.endsWith('.safetensors'))) return;
  throw new KvlrError('file-missing', {
    message: `downloadHubModel: expected ${id} to have model*.safetensors, found none`,
    hint: 'Take a copy of this model with safetensors weights in its topmost folder.',
    data: { id, found: files.map(({ name }) => name) },
  });
}

/** The directory of the last complete copy of a revision. */
async function keptSnapshot(storage: string, reference: string): Promise<string | undefined> {
  const commit = await readFile(reference, 'utf8').catch(() => undefined);
  if (commit === undefined || !/^\w+$/.test(commit)) return undefined;
  const snapshot = join(storage, 'snapshots', commit);
  return (await isThere(join(snapshot, 'config.json'))) ? snapshot : undefined;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
