import { methodFromModule, resolveMethod } from '@kvlr/compression';
import type { MethodChoice } from '../run/plugin-choices.ts';
import { isModulePath, loadModule } from './load-module.ts';

/**
 * The compression method of a module named by path ('./mine.mjs'); undefined for the name of a built-in method.
 *
 * @throws KvlrError 'usage' for an unknown name; 'file-missing' or 'plugin-invalid', naming the file.
 */
export async function loadMethod(nameOrPath: string): Promise<MethodChoice | undefined> {
  if (!isModulePath(nameOrPath)) {
    resolveMethod(nameOrPath);
    return undefined;
  }
  const { moduleNamespace, hash } = await loadModule(nameOrPath, 'compression method');
  return { method: methodFromModule(moduleNamespace, nameOrPath), hash };
}
