import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, open, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { KvlrError } from '@kvlr/core';
import { fileTruncated } from '../files/file-errors.ts';
import { writeError } from './write-error.ts';

/** A file of the hub and its places in the cache. */
export interface HubFile {
  name: string;
  size: number;
  /** SHA-256 of the content, where the hub knows it: of large files. */
  sha256: string | undefined;
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
export async function downloadHubFile(file: HubFile, progress: (bytes: number) => void): Promise<void> {
  const { blobPath, snapshotPath, size } = file;
  try {
    if (await exists(snapshotPath)) {
      progress(size);
      return;
    }
    await mkdir(dirname(blobPath), { recursive: true });
    await mkdir(dirname(snapshotPath), { recursive: true });
    if (await exists(blobPath)) progress(size);
    else await downloadBlob(file, progress);
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
  const handle = await open(incomplete, start === 0 ? 'w' : 'a');
  try {
    if (size > 0) {
      const blob = await file.fetch();
      for await (const bytes of blob.slice(start, size).stream()) {
        await handle.writeFile(bytes);
        progress(bytes.length);
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  const received = (await stat(incomplete)).size;
  if (received < size) throw fileTruncated(dirname(blobPath), name, size, received);
  const wrong = received > size || (file.sha256 !== undefined && (await sha256Of(incomplete)) !== file.sha256);
  if (wrong) {
    await rm(incomplete);
    throw new KvlrError('file-malformed', {
      message: `downloadHubFile: expected ${name} to have the size and hash that the hub names, got other content`,
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
