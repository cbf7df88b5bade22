import { readFile } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { KvlrError, sha256 } from '@kvlr/core';

export interface LoadedModule {
  moduleNamespace: unknown;
  /** Hash of its source file. What the file itself imports is not in it. */
  hash: string;
}

/** True for the path of an ES module ('./mine.mjs', '/home/me/mine.js'), false for the name of something built in. */
export function isModulePath(nameOrPath: string): boolean {
  return nameOrPath.startsWith('.') || isAbsolute(nameOrPath) || /\.[cm]?js$/.test(nameOrPath);
}

/**
 * Imports the ES module at a path.
 *
 * @param what What its default export is, for messages: 'grouping strategy'.
 * @throws KvlrError 'file-missing' or 'plugin-invalid', naming the file.
 */
export async function loadModule(nameOrPath: string, what: string): Promise<LoadedModule> {
  const path = resolve(nameOrPath);
  const source = await readFile(path).catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: `loadModule: expected a ${what} at ${path}, found no file`,
      hint: `Give the path of an ES module (.mjs) whose default export is a ${what}.`,
      data: { file: path },
      cause,
    });
  });
  const hash = await sha256(source);
  const moduleNamespace: unknown = await import(pathToFileURL(path).href).catch((cause: unknown) => {
    throw new KvlrError('plugin-invalid', {
      message: `loadModule: expected ${path} to load, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'Mend the module: node must be able to import it.',
      data: { file: path },
      cause,
    });
  });
  return { moduleNamespace, hash };
}
