import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { combineMethod, keysFromPlugin, methodFromPlugin, resolveMethod, valuesFromPlugin } from '@kvlr/compression';
import { canonicalJson, KvlrError, type ModuleLoader, sha256 } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type NamedCache, resolveCache } from '../frontier/caches.ts';
import {
  type BudgetChoice,
  budgetPolicies,
  type GroupingChoice,
  groupingStrategies,
  keyMethods,
  type MethodChoice,
  methodPlugins,
  ropeStrategies,
  valueMethods,
} from '../run/plugin-choices.ts';

/**
 * Imports the ES module at a path. Its hash is that of its source file; what the file itself imports is not in it.
 *
 * @throws KvlrError 'file-missing' or 'plugin-invalid', naming the module.
 */
const loadModule: ModuleLoader = async (label) => {
  const file = resolve(label);
  const source = await readFile(file).catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: 'expected an ES module, found no file',
      hint: 'Give the path of an ES module (.mjs) whose default export is the plug-in.',
      where: { file },
      cause,
    });
  });
  const moduleNamespace: unknown = await import(pathToFileURL(file).href).catch((cause: unknown) => {
    throw new KvlrError('plugin-invalid', {
      message: `expected a module that can be imported, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'Correct the module: node must be able to import it.',
      where: { module: label },
      cause,
    });
  });
  return { moduleNamespace, label, hash: await sha256(source) };
};

/**
 * The strategy of a module named by path ('./mine.mjs'); undefined for the name of a built-in strategy.
 *
 * @throws KvlrError 'usage' for an unknown name; 'file-missing' or 'plugin-invalid', naming the module.
 */
export async function loadGrouping(nameOrPath: string): Promise<GroupingChoice | undefined> {
  const { value, hash } = await groupingStrategies.resolve(nameOrPath, loadModule);
  return hash === undefined ? undefined : { strategy: value.strategy, hash };
}

/** The cache that a text names (`resolveCache`), where codecs may be modules named by path. Throws as `loadGrouping` does. */
export function loadCache(text: string): Promise<NamedCache> {
  return resolveCache(text, loadModule);
}

/** The budget policy of a module, as `loadGrouping`. */
export async function loadBudget(nameOrPath: string): Promise<BudgetChoice | undefined> {
  const { value, hash } = await budgetPolicies.resolve(nameOrPath, loadModule);
  return hash === undefined ? undefined : { policy: value.policy, hash };
}

/**
 * The compression method of a recipe, where it or one of its sides is a module named by path ('./mine.mjs'); undefined where
 * all are names of built-in methods. Throws as `loadGrouping` does.
 */
export async function loadMethod(method: Recipe['method']): Promise<MethodChoice | undefined> {
  if (typeof method === 'string') {
    const { value, hash } = await methodPlugins.resolve(method, loadModule);
    return hash === undefined ? undefined : { method: methodFromPlugin(value, method), hash };
  }
  const [registry, name] = 'keys' in method ? [keyMethods, method.keys] : [ropeStrategies, method.ropeStrategy];
  const keys = await registry.resolve(name, sideLoader('keys' in method ? 'keyFactors' : 'keys'));
  const values = await valueMethods.resolve(method.values, sideLoader('values'));
  if (keys.hash === undefined && values.hash === undefined) return undefined;
  const keySide = keys.hash === undefined ? resolveMethod(name) : keysFromPlugin(keys.value, name);
  const valueSide =
    values.hash === undefined ? resolveMethod(method.values) : valuesFromPlugin(values.value, method.values);
  return {
    method: combineMethod(keySide, valueSide),
    hash: await sha256(canonicalJson([keys.hash ?? name, values.hash ?? method.values])),
  };
}

/** Loads modules of one side of a method: a function there is that side, and named exports beside it describe it. */
function sideLoader(side: 'keys' | 'keyFactors' | 'values'): ModuleLoader {
  return async (path) => {
    const imported = await loadModule(path);
    const { default: exported, ...named } = imported.moduleNamespace as Record<string, unknown>;
    if (typeof exported !== 'function') return imported;
    return { ...imported, moduleNamespace: { default: { ...named, [side]: exported } } };
  };
}
