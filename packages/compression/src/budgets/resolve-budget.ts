import { type BudgetPolicy, KvlrError } from '@kvlr/core';
import { budgetPolicies } from './budget-policies.ts';

/**
 * The policy behind a name, or the function itself. A path to a module is the caller's to import: see `policyFromModule`.
 *
 * @throws KvlrError 'usage' for an unknown name.
 */
export function resolveBudget(nameOrFunction: string | BudgetPolicy): BudgetPolicy {
  if (typeof nameOrFunction === 'function') return nameOrFunction;
  if (!Object.hasOwn(budgetPolicies, nameOrFunction)) {
    const names = Object.keys(budgetPolicies);
    throw new KvlrError('usage', {
      message: `resolveBudget: expected one of ${names.join(', ')}, got ${JSON.stringify(nameOrFunction)}`,
      hint: 'Name one of these, or give the path of an ES module, such as ./mine.mjs, that exports a budget policy.',
      data: { name: nameOrFunction, names },
    });
  }
  return budgetPolicies[nameOrFunction]!.policy;
}
