import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { encodeMarker, markerName, readMarker } from '@kvlr/checkpoint/node';
import { artefactNames, type RunStore } from '../run/store.ts';
import { toFileError } from './file-error.ts';

/**
 * A run store in a directory. Every write goes to a file beside its final name, which is then renamed into place. The first one marks the
 * directory as one of kvlr's, and takes away what a killed run left half-written.
 */
export class DirectoryRunStore implements RunStore {
  #begun: Promise<void> | undefined;

  constructor(readonly directory: string) {}

  async read(name: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.#path(name));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw toFileError(this.#path(name), error);
    }
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(name);
    const partial = `${path}.partial`;
    try {
      await this.#begin();
      await mkdir(dirname(path), { recursive: true });
      await writeFile(partial, bytes);
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true }).catch(() => {});
      throw toFileError(path, error);
    }
  }

  async appendLine(name: string, line: string): Promise<void> {
    const path = this.#path(name);
    try {
      await this.#begin();
      await mkdir(dirname(path), { recursive: true });
      await appendFile(path, `${line}\n`);
    } catch (error) {
      throw toFileError(path, error);
    }
  }

  async list(): Promise<string[]> {
    try {
      const entries = await readdir(this.directory, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile() && !entry.name.endsWith('.partial') && entry.name !== markerName)
        .map((entry) => relative(this.directory, join(entry.parentPath, entry.name)).split(sep).join('/'))
        .sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw toFileError(this.directory, error);
    }
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { recursive: true, force: true });
  }

  #begin(): Promise<void> {
    this.#begun ??= this.#markAndClear();
    return this.#begun;
  }

  async #markAndClear(): Promise<void> {
    await mkdir(this.directory, { recursive: true });
    if ((await readMarker(this.directory)) === undefined) {
      const marker = join(this.directory, markerName);
      await writeFile(`${marker}.partial`, encodeMarker({ kind: 'run', files: [] }));
      await rename(`${marker}.partial`, marker);
    }
    const names = await readdir(this.directory, { recursive: true });
    const partial = names.filter((name) => name.endsWith('.partial'));
    await Promise.all(partial.map((name) => rm(join(this.directory, name), { force: true })));
    await this.#endLastLine(this.#path(artefactNames.events));
  }

  /** A log that was cut within a line goes on below it. */
  async #endLastLine(path: string): Promise<void> {
    const log = await readFile(path).catch(() => undefined);
    if (log !== undefined && log.length > 0 && log.at(-1) !== 0x0a) await appendFile(path, '\n');
  }

  #path(name: string): string {
    return join(this.directory, ...name.split('/'));
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
