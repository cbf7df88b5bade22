import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { KvlrError, type RunControl, throwIfAborted } from '@kvlr/core';
import { fileMissing, fileTruncated } from '../files/files.ts';
import {
  bytesOfAnswers,
  createHubFiles,
  type HubAccess,
  hubError,
  hubParameters,
  type ListedFile,
  listHubFiles,
  requireHubId,
} from '../files/hub.ts';
import { chooseGguf, isGgufName } from '../gguf/choose.ts';
import type { OpenCheckpointSettings } from '../model/open.ts';
import { requireReadable } from '../open-source.ts';
import { holdPlace } from './lock.ts';
import { checkFreeSpace, requireWritable, writeError } from './replace.ts';

export interface HubDownloadSettings extends HubAccess, RunControl, Pick<OpenCheckpointSettings, 'architectures'> {
  /** Where models are kept. Default: the cache that all Hugging Face tools share (HF_HUB_CACHE, HF_HOME). */
  cacheDirectory?: string;
}

/**
 * Brings a model of the Hugging Face hub (see `parseHubId`) into the cache on disk and returns the directory of its files, or the path of
 * its GGUF file: of that which is named, or of the only one of a repository without safetensors. Only what the model consists of is
 * loaded, once its config or header shows that kvlr reads it; what is there already, whoever put it there, is not loaded again.
 * Without a connection the last complete copy of that revision is used, with a warning. HF_ENDPOINT and HF_TOKEN are honoured.
 *
 * Throws 'access-denied', 'file-missing', 'network', 'file-truncated', 'file-malformed', 'disk-full', 'write-failed',
 * 'aborted', what `chooseGguf` throws, and for a model that is not read what opening it would throw. What was loaded before an
 * error stays, and the next call goes on from there.
 */
export async function downloadHubModel(id: string, settings: HubDownloadSettings = {}): Promise<string> {
  const { name, revision, gguf } = requireHubId(id);
  const hub = await import('@huggingface/hub');
  const { hubUrl = process.env.HF_ENDPOINT, accessToken = process.env.HF_TOKEN, onEvent, signal } = settings;
  const access: HubAccess = {
    ...settings,
    hubUrl: hubUrl === '' ? undefined : hubUrl?.replace(/\/+$/, ''),
    accessToken: accessToken === '' ? undefined : accessToken,
  };
  const parameters = hubParameters(access);
  const cache = settings.cacheDirectory ?? hub.getHFHubCachePath();
  const storage = join(cache, hub.getRepoFolderName({ type: 'model', name }));
  const reference = join(storage, 'refs', revision);

  let commit: string;
  try {
    const { sha } = await hub.modelInfo({ ...parameters, name, revision, additionalFields: ['sha'] });
    commit = requireCommit(sha, id);
  } catch (cause) {
    const error = hubError(cause, id);
    const kept = error.code === 'network' ? await keptModel(storage, reference, gguf) : undefined;
    if (kept === undefined) throw error;
    onEvent?.({
      type: 'warning',
      message: `The hub does not answer: ${id} is taken from ${cache}, as it was last loaded.`,
    });
    return kept;
  }

  const snapshot = join(storage, 'snapshots', commit);
  const request = { repo: name, revision: commit };
  let file: string | undefined;
  try {
    const listed = await listHubFiles(access, name, commit);
    const names = listed.map((one) => one.name);
    file = chooseGguf(names, id, gguf);
    const wanted = listed.filter((one) => (file === undefined ? !isGgufName(one.name) : one.name === file));
    if (file === undefined) requireWeights(id, names);
    const files = wanted.map(
      (one): HubFile => ({
        ...one,
        blobPath: join(storage, 'blobs', one.hash),
        snapshotPath: join(snapshot, one.name),
        async fetch() {
          const limited = hubParameters(access, { maxBytes: bytesOfAnswers(one.size) });
          const blob = await hub.downloadFile({ ...limited, ...request, path: one.name });
          if (blob === null) throw fileMissing(id, one.name);
          return blob;
        },
      }),
    );
    const missing = await absent(files);
    if (missing.length > 0) {
      await requireReadable(createHubFiles(`${name}@${commit}`, access), file, settings);
      await downloadAll(id, missing, { onEvent, signal });
    }
  } catch (cause) {
    throw hubError(cause, id);
  }
  await mkdir(dirname(reference), { recursive: true });
  await writeFile(reference, commit);
  return file === undefined ? snapshot : join(snapshot, file);
}

/** The name of a commit becomes a path. */
function requireCommit(sha: unknown, id: string): string {
  if (typeof sha === 'string' && commitPattern.test(sha)) return sha;
  throw new KvlrError('network', {
    message: `expected the hub to name a commit of ${id}, got ${JSON.stringify(sha)?.slice(0, 80)}`,
    hint: 'Check the address of the hub: what answers there is none, or not a sound one.',
    data: { id },
  });
}

/** SHA-1 or SHA-256. */
const commitPattern = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

async function absent(files: readonly HubFile[]): Promise<HubFile[]> {
  const missing: HubFile[] = [];
  for (const file of files) {
    if (!(await isThere(file.snapshotPath))) missing.push(file);
  }
  return missing;
}

async function downloadAll(id: string, missing: readonly HubFile[], { onEvent, signal }: RunControl): Promise<void> {
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  const blobs = dirname(missing[0]!.blobPath);
  await requireWritable(blobs);
  await mkdir(blobs, { recursive: true });
  await checkFreeSpace(missing[0]!.blobPath, total);
  const what = missing.length === 1 ? missing[0]!.name : `${missing.length} files`;
  onEvent?.({ type: 'note', message: `Loading ${id}: ${what} into the cache` });
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
function requireWeights(id: string, names: readonly string[]): void {
  if (names.some((name) => name.endsWith('.safetensors'))) return;
  throw new KvlrError('file-missing', {
    message: `expected ${id} to have model*.safetensors or a GGUF file, found none`,
    hint: 'Take a copy of this model with safetensors weights, or a GGUF file, in its topmost folder.',
    data: { id, found: names },
  });
}

/** The directory or GGUF file of the last complete copy of a revision. */
async function keptModel(storage: string, reference: string, gguf: string | undefined): Promise<string | undefined> {
  const commit = await readFile(reference, 'utf8').catch(() => undefined);
  if (commit === undefined || !commitPattern.test(commit)) return undefined;
  const snapshot = join(storage, 'snapshots', commit);
  const names: string[] = await readdir(snapshot).catch(() => []);
  try {
    const file = chooseGguf(names, snapshot, gguf);
    if (file !== undefined) return join(snapshot, file);
  } catch {
    return undefined;
  }
  return names.includes('config.json') ? snapshot : undefined;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** A file of the hub and its places in the cache. */
interface HubFile extends Omit<ListedFile, 'hash'> {
  /** Where the content is kept, under its hash. */
  blobPath: string;
  /** Where it appears under its name. */
  snapshotPath: string;
  /** The content, which may be read from the middle on. */
  fetch(): Promise<Blob>;
}

/**
 * Loads a file into the cache unless it is there. It grows under a temporary name, which a later try goes on with, and
 * gets its own name when size and hash are right. `progress` is told of bytes as they come.
 * Throws 'file-truncated', 'file-malformed', 'disk-full', 'write-failed', and what `fetch` throws.
 */
async function downloadHubFile(file: HubFile, progress: (bytes: number) => void): Promise<void> {
  const { blobPath, snapshotPath, size } = file;
  try {
    if (await exists(snapshotPath)) {
      progress(size);
      return;
    }
    await mkdir(dirname(blobPath), { recursive: true });
    await mkdir(dirname(snapshotPath), { recursive: true });
    if (await exists(blobPath)) progress(size);
    else {
      // Two that append to one file would spoil it.
      const held = await holdPlace(blobPath);
      await downloadBlob(file, progress).finally(held.release);
    }
    await showUnderName(blobPath, snapshotPath);
  } catch (error) {
    throw writeError(error, snapshotPath);
  }
}

async function downloadBlob(file: HubFile, progress: (bytes: number) => void): Promise<void> {
  const { name, size, blobPath } = file;
  const incomplete = `${blobPath}.incomplete`;
  const kept = await stat(incomplete).then(
    (found) => found.size,
    () => 0,
  );
  const start = kept < size ? kept : 0;
  progress(start);
  let received = start;
  const handle = await open(incomplete, start === 0 ? 'w' : 'a');
  try {
    if (size > 0) {
      const blob = await file.fetch();
      for await (const bytes of blob.slice(start, size).stream()) {
        await handle.writeFile(bytes);
        progress(bytes.length);
        received += bytes.length;
        // What goes on beyond its size is other content, as is found below.
        if (received > size) break;
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (received < size) throw fileTruncated(dirname(blobPath), name, size, received);
  const wrong = received > size || (file.sha256 !== undefined && (await sha256Of(incomplete)) !== file.sha256);
  if (wrong) {
    await rm(incomplete);
    throw new KvlrError('file-malformed', {
      message: `expected ${name} to have the size and hash that the hub names, got other content`,
      hint: 'It was removed from the cache: try again.',
      data: { file: name, expected: file.sha256, expectedBytes: size, receivedBytes: received },
    });
  }
  await rename(incomplete, blobPath);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path)) hash.update(bytes);
  return hash.digest('hex');
}

/** A link in the snapshot to the content, as the hub's own tools have it; a hard link where symbolic ones are forbidden. */
async function showUnderName(blobPath: string, snapshotPath: string): Promise<void> {
  await rm(snapshotPath, { force: true });
  await symlink(relative(dirname(snapshotPath), blobPath), snapshotPath).catch(() => link(blobPath, snapshotPath));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
