import { type BudgetPolicy, KvlrError } from '@kvlr/core';

/**
 * Takes the budget policy out of an imported ES module: its default export.
 *
 * @param moduleNamespace What `await import(path)` gave.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' when the default export is not a function.
 */
export function policyFromModule(moduleNamespace: unknown, label: string): BudgetPolicy {
  const candidate =
    typeof moduleNamespace === 'object' && moduleNamespace !== null && 'default' in moduleNamespace
      ? moduleNamespace.default
      : undefined;
  if (typeof candidate !== 'function') {
    throw new KvlrError('plugin-invalid', {
      message: `${label}: expected a default export that is a budget policy (a function), got ${candidate === undefined ? 'none' : typeof candidate}`,
      remedy:
        'Write: export default ({ shape, uniform, total, candidates }) => [...]; examples/budgets/taper.mjs is one.',
      data: { module: label },
    });
  }
  return candidate as BudgetPolicy;
}
