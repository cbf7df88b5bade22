import { resolveGrouping, strategyFromModule } from '@kvlr/grouping';
import type { GroupingChoice } from '../run/plugin-choices.ts';
import { isModulePath, loadModule } from './load-module.ts';

/**
 * The strategy of a module named by path ('./mine.mjs'); undefined for the name of a built-in strategy.
 *
 * @throws KvlrError 'usage' for an unknown name; 'file-missing' or 'plugin-invalid', naming the file.
 */
export async function loadGrouping(nameOrPath: string): Promise<GroupingChoice | undefined> {
  if (!isModulePath(nameOrPath)) {
    resolveGrouping(nameOrPath);
    return undefined;
  }
  const { moduleNamespace, hash } = await loadModule(nameOrPath, 'grouping strategy');
  return { strategy: strategyFromModule(moduleNamespace, nameOrPath), hash };
}
