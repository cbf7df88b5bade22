import { defaultExport, defaultFunction, KvlrError } from '@kvlr/core';
import { foldedKeys } from '../keys/folded-keys.ts';
import type { KeyMethod, RopeStrategy, ValueMethod } from '../ports.ts';
import { checkedKeys } from './check-keys.ts';
import type { KeySide, ValueSide } from './combine-method.ts';
import { checkedFactors } from './guard-plugin.ts';
import { methodFromModule } from './method-from-module.ts';

/**
 * Takes a key method out of an imported ES module: its default export is a `KeyMethod`, or a whole method whose keys are taken.
 *
 * @param moduleNamespace What `await import(path)` gave. A named export `needsStatistics` (default true) is read too.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' for anything else.
 */
export function keyMethodFromModule(moduleNamespace: unknown, label: string): KeySide {
  if (isObject(defaultExport(moduleNamespace))) return methodFromModule(moduleNamespace, label);
  const plugin = functionOf(
    moduleNamespace,
    label,
    'key method',
    'export default (layer, heads) => ({ encoder, decoders })',
  );
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
  if (isObject(defaultExport(moduleNamespace))) return methodFromModule(moduleNamespace, label);
  const shown = 'export default (layer, groups) => ({ query, key, keySlots, keySlotWidth })';
  const plugin = functionOf(moduleNamespace, label, 'RoPE strategy', shown);
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
  if (isObject(defaultExport(moduleNamespace))) return methodFromModule(moduleNamespace, label);
  const plugin = functionOf(
    moduleNamespace,
    label,
    'value method',
    'export default (layer, heads, width) => ({ encoder, decoders })',
  );
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

function functionOf(moduleNamespace: unknown, label: string, what: string, example: string): unknown {
  return defaultFunction(moduleNamespace, {
    label,
    expected: `a ${what} (a function) or a whole method`,
    hint: `Write: ${example}; see examples/.`,
  });
}

function invalid(label: string, expected: string, example: string): KvlrError {
  return new KvlrError('plugin-invalid', {
    message: `${label}: expected ${expected}`,
    hint: `Write: ${example}; see examples/.`,
    data: { module: label },
  });
}
