import { KvlrError } from '@kvlr/core';
import { foldedKeys } from '../keys/folded-keys.ts';
import type { KeyMethod, RopeStrategy, ValueMethod } from '../ports.ts';
import { checkedKeys } from './check-keys.ts';
import type { KeySide, ValueSide } from './combine-method.ts';
import { checkedFactors } from './guard-plugin.ts';
import { defaultExport, methodFromModule } from './method-from-module.ts';

/**
 * Takes a key method out of an imported ES module: its default export is a `KeyMethod`, or a whole method whose keys are taken.
 *
 * @param moduleNamespace What `await import(path)` gave. A named export `needsStatistics` (default true) is read too.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' for anything else.
 */
export function keyMethodFromModule(moduleNamespace: unknown, label: string): KeySide {
  const plugin = defaultExport(moduleNamespace);
  if (isObject(plugin)) return methodFromModule(moduleNamespace, label);
  requireFunction(plugin, label, 'key method', 'export default (layer, heads) => ({ encoder, decoders })');
  const factors = checkedFactors(plugin as KeyMethod, 'keys', label);
  return { ...describe(moduleNamespace, label), layout: 'stock', keys: foldedKeys(factors) };
}

/**
 * Takes a RoPE strategy out of an imported ES module: its default export is a `RopeStrategy`, or a whole method whose keys
 * are taken. A named export `layout` says who can run the result: 'stock' (the default) or 'latent'.
 *
 * @throws KvlrError 'plugin-invalid' for anything else.
 */
export function ropeStrategyFromModule(moduleNamespace: unknown, label: string): KeySide {
  const plugin = defaultExport(moduleNamespace);
  if (isObject(plugin)) return methodFromModule(moduleNamespace, label);
  const shown = 'export default (layer, groups) => ({ query, key, keySlots, keySlotWidth })';
  requireFunction(plugin, label, 'RoPE strategy', shown);
  const { layout = 'stock' } = moduleNamespace as { layout?: unknown };
  if (layout !== 'stock' && layout !== 'latent') {
    throw invalid(
      label,
      `layout to be 'stock' or 'latent', got ${JSON.stringify(layout)}`,
      "export const layout = 'latent'",
    );
  }
  return { ...describe(moduleNamespace, label), layout, keys: checkedKeys(plugin as RopeStrategy, layout, label) };
}

/**
 * Takes a value method out of an imported ES module: its default export is a `ValueMethod`, or a whole method whose values are
 * taken. A named export `valueSlots` may be 'head': every head keeps a narrower value of its own.
 *
 * @throws KvlrError 'plugin-invalid' for anything else.
 */
export function valueMethodFromModule(moduleNamespace: unknown, label: string): ValueSide {
  const plugin = defaultExport(moduleNamespace);
  if (isObject(plugin)) return methodFromModule(moduleNamespace, label);
  requireFunction(plugin, label, 'value method', 'export default (layer, heads, width) => ({ encoder, decoders })');
  const { valueSlots = 'group' } = moduleNamespace as { valueSlots?: unknown };
  if (valueSlots !== 'group' && valueSlots !== 'head') {
    const message = `valueSlots to be 'group' or 'head', got ${JSON.stringify(valueSlots)}`;
    throw invalid(label, message, "export const valueSlots = 'head'");
  }
  const values = checkedFactors(plugin as ValueMethod, 'values', label);
  return { ...describe(moduleNamespace, label), valueSlots, values };
}

function describe(moduleNamespace: unknown, label: string) {
  const { needsStatistics = true } = moduleNamespace as { needsStatistics?: unknown };
  if (typeof needsStatistics !== 'boolean') {
    const message = `needsStatistics to be true or false, got ${JSON.stringify(needsStatistics)}`;
    throw invalid(label, message, 'export const needsStatistics = false');
  }
  return { title: label, source: label, needsStatistics };
}

function isObject(plugin: unknown): boolean {
  return typeof plugin === 'object' && plugin !== null;
}

function requireFunction(plugin: unknown, label: string, what: string, example: string): void {
  if (typeof plugin === 'function') return;
  const got = plugin === undefined ? 'none' : typeof plugin;
  throw invalid(label, `a default export that is a ${what} (a function) or a whole method, got ${got}`, example);
}

function invalid(label: string, expected: string, example: string): KvlrError {
  return new KvlrError('plugin-invalid', {
    message: `${label}: expected ${expected}`,
    remedy: `Write: ${example}; see examples/.`,
    data: { module: label },
  });
}
