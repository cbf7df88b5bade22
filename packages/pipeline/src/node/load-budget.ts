import { policyFromModule, resolveBudget } from '@kvlr/compression';
import type { BudgetChoice } from '../run/plugin-choices.ts';
import { isModulePath, loadModule } from './load-module.ts';

/**
 * The budget policy of a module named by path ('./mine.mjs'); undefined for the name of a built-in policy.
 *
 * @throws KvlrError 'usage' for an unknown name; 'file-missing' or 'plugin-invalid', naming the file.
 */
export async function loadBudget(nameOrPath: string): Promise<BudgetChoice | undefined> {
  if (!isModulePath(nameOrPath)) {
    resolveBudget(nameOrPath);
    return undefined;
  }
  const { moduleNamespace, hash } = await loadModule(nameOrPath, 'budget policy');
  return { policy: policyFromModule(moduleNamespace, nameOrPath), hash };
}
