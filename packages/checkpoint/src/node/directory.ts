import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type CheckpointFiles, fileMissing, fileTruncated, sliceBytes } from '../files/files.ts';

/**
 * Checkpoint files in a directory (not below it). Each read takes only its byte range; the handles of files that are read in
 * ranges stay open until `close`.
 */
export function createDirectoryFiles(directory: string): CheckpointFiles {
  const handles = new Map<string, Promise<FileHandle>>();

  const handleOf = (name: string): Promise<FileHandle> => {
    const known = handles.get(name);
    if (known !== undefined) return known;
    const pending = open(join(directory, name), 'r').catch((cause: unknown) => {
      throw fileMissing(directory, name, cause);
    });
    handles.set(name, pending);
    pending.catch(() => handles.delete(name));
    return pending;
  };

  const size = async (name: string): Promise<number> => {
    const found = await stat(join(directory, name)).catch((cause: unknown) => {
      throw fileMissing(directory, name, cause);
    });
    if (!found.isFile()) throw fileMissing(directory, name);
    return found.size;
  };

  return {
    location: directory,
    size,
    async list() {
      const entries = await readdir(directory, { withFileTypes: true }).catch((cause: unknown) => {
        throw fileMissing(directory, 'config.json', cause);
      });
      return entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
    },
    async read(name, start = 0, end) {
      if (end === undefined) {
        const whole = await readFile(join(directory, name)).catch((cause: unknown) => {
          throw fileMissing(directory, name, cause);
        });
        return sliceBytes(directory, name, whole, start);
      }
      const handle = await handleOf(name);
      const bytes = new Uint8Array(end - start);
      let filled = 0;
      while (filled < bytes.length) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
        if (bytesRead === 0) throw fileTruncated(directory, name, end, start + filled);
        filled += bytesRead;
      }
      return bytes;
    },
    async close() {
      const open = [...handles.values()];
      handles.clear();
      await Promise.all(open.map(async (handle) => (await handle).close()));
    },
  };
}
