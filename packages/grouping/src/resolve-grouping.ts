import { type GroupingStrategy, KvlrError } from '@kvlr/core';
import { groupingStrategies } from './grouping-strategies.ts';

/**
 * The strategy behind a name, or the function itself. A path to a module is the caller's to import:
 * see `strategyFromModule`.
 *
 * @throws KvlrError 'usage' for an unknown name.
 */
export function resolveGrouping(nameOrFunction: string | GroupingStrategy): GroupingStrategy {
  if (typeof nameOrFunction === 'function') return nameOrFunction;
  if (!Object.hasOwn(groupingStrategies, nameOrFunction)) {
    const names = Object.keys(groupingStrategies);
    throw new KvlrError('usage', {
      message: `resolveGrouping: expected one of ${names.join(', ')}, got ${JSON.stringify(nameOrFunction)}`,
      hint: 'Name one of these, or give the path of an ES module, such as ./mine.mjs, that exports a strategy.',
      data: { name: nameOrFunction, names },
    });
  }
  return groupingStrategies[nameOrFunction]!.strategy;
}
