import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import type { RunStore } from '../store/run-store.ts';
import { toFileError } from './to-file-error.ts';

/** A run store in a directory. Every write goes to a file beside its final name, which is then renamed into place. */
export class DirectoryRunStore implements RunStore {
  constructor(readonly directory: string) {}

  async read(name: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.#path(name));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw toFileError('DirectoryRunStore.read', this.#path(name), error);
    }
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(name);
    const partial = `${path}.partial`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(partial, bytes);
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true }).catch(() => {});
      throw toFileError('DirectoryRunStore.write', path, error);
    }
  }

  async appendLine(name: string, line: string): Promise<void> {
    const path = this.#path(name);
    try {
      await mkdir(dirname(path), { recursive: true });
      await appendFile(path, `${line}\n`);
    } catch (error) {
      throw toFileError('DirectoryRunStore.appendLine', path, error);
    }
  }

  async list(): Promise<string[]> {
    try {
      const entries = await readdir(this.directory, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile() && !entry.name.endsWith('.partial'))
        .map((entry) => relative(this.directory, join(entry.parentPath, entry.name)).split(sep).join('/'))
        .sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw toFileError('DirectoryRunStore.list', this.directory, error);
    }
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { recursive: true, force: true });
  }

  #path(name: string): string {
    return join(this.directory, ...name.split('/'));
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
