import {
  combineMethod,
  type KeySide,
  keyMethodFromModule,
  keysOfPair,
  methodFromModule,
  resolveMethod,
  ropeStrategyFromModule,
  type ValueSide,
  valueMethodFromModule,
} from '@kvlr/compression';
import { canonicalJson, sha256 } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { MethodChoice } from '../run/plugin-choices.ts';
import { isModulePath, loadModule } from './load-module.ts';

/**
 * The compression method of a recipe, where it or one of its sides is a module named by path ('./mine.mjs'); undefined where
 * all are names of built-in methods.
 *
 * @throws KvlrError 'usage' for an unknown name; 'file-missing' or 'plugin-invalid', naming the file.
 */
export async function loadMethod(method: Recipe['method']): Promise<MethodChoice | undefined> {
  if (typeof method !== 'string') return loadPair(method);
  if (!isModulePath(method)) {
    resolveMethod(method);
    return undefined;
  }
  const { moduleNamespace, hash } = await loadModule(method, 'compression method');
  return { method: methodFromModule(moduleNamespace, method), hash };
}

async function loadPair(pair: Exclude<Recipe['method'], string>): Promise<MethodChoice | undefined> {
  if (![keysOfPair(pair), pair.values].some(isModulePath)) {
    resolveMethod(pair);
    return undefined;
  }
  const keys =
    'keys' in pair
      ? await loadSide<KeySide>(pair.keys, 'key method', keyMethodFromModule)
      : await loadSide<KeySide>(pair.ropeStrategy, 'RoPE strategy', ropeStrategyFromModule);
  const values = await loadSide<ValueSide>(pair.values, 'value method', valueMethodFromModule);
  return { method: combineMethod(keys.side, values.side), hash: await sha256(canonicalJson([keys.hash, values.hash])) };
}

/** One side of a method, and what decides it: the hash of a module, or a name. */
async function loadSide<Side>(
  nameOrPath: string,
  what: string,
  fromModule: (moduleNamespace: unknown, label: string) => Side,
): Promise<{ side: Side; hash: string }> {
  if (!isModulePath(nameOrPath)) return { side: resolveMethod(nameOrPath) as Side, hash: nameOrPath };
  const { moduleNamespace, hash } = await loadModule(nameOrPath, what);
  return { side: fromModule(moduleNamespace, nameOrPath), hash };
}
