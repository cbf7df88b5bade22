import { keysOfPair } from '@kvlr/compression';
import type { Recipe } from '@kvlr/core/schemas';

/** What a recipe's method is called in options, keys and messages: its name, or those of its keys and values. */
export function methodName(method: Recipe['method']): string {
  return typeof method === 'string' ? method : `keys of ${keysOfPair(method)}, values of ${method.values}`;
}
