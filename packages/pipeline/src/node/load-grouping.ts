import { readFile } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { KvlrError } from '@kvlr/core';
import { strategyFromModule } from '@kvlr/grouping';
import type { GroupingChoice } from '../run/grouping-choice.ts';
import { hashBytes } from '../store/hash.ts';

/**
 * The strategy of a module named by path ('./mine.mjs'); undefined for the name of a built-in strategy.
 *
 * @throws KvlrError 'file-missing' or 'plugin-invalid', naming the file.
 */
export async function loadGrouping(nameOrPath: string): Promise<GroupingChoice | undefined> {
  if (!(nameOrPath.startsWith('.') || isAbsolute(nameOrPath) || /\.[cm]?js$/.test(nameOrPath))) return undefined;
  const path = resolve(nameOrPath);
  const source = await readFile(path).catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: `loadGrouping: expected a grouping strategy at ${path}, found no file`,
      remedy: 'Give the path of an ES module (.mjs) whose default export is a strategy.',
      data: { file: path },
      cause,
    });
  });
  const hash = await hashBytes(source);
  const moduleNamespace: unknown = await import(pathToFileURL(path).href).catch((cause: unknown) => {
    throw new KvlrError('plugin-invalid', {
      message: `loadGrouping: expected ${path} to load, got: ${cause instanceof Error ? cause.message : cause}`,
      remedy: 'Mend the module: node must be able to import it.',
      data: { file: path },
      cause,
    });
  });
  return { strategy: strategyFromModule(moduleNamespace, nameOrPath), hash };
}
