import { type BudgetPolicy, defaultFunction } from '@kvlr/core';

/**
 * Takes the budget policy out of an imported ES module: its default export.
 *
 * @param moduleNamespace What `await import(path)` gave.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' when the default export is not a function.
 */
export function policyFromModule(moduleNamespace: unknown, label: string): BudgetPolicy {
  return defaultFunction(moduleNamespace, {
    label,
    expected: 'a budget policy (a function)',
    hint: 'Write: export default ({ shape, uniform, total, candidates }) => [...]; examples/budgets/taper.mjs is one.',
  }) as BudgetPolicy;
}
