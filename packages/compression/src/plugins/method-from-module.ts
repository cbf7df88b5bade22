import { defaultExport, KvlrError } from '@kvlr/core';
import { foldedKeys } from '../keys/folded-keys.ts';
import { compressionMethods } from '../methods/compression-methods.ts';
import type { CompressionMethod, KeyMethod, RopeStrategy, ValueMethod } from '../ports.ts';
import { checkedKeys } from './check-keys.ts';
import { checkedFactors } from './guard-plugin.ts';

/** What the default export of a method's module is. A `CompressionMethod` is one; so is a shorter description of it. */
export interface MethodPlugin {
  title: string;
  description?: string;
  source?: string;
  /** Default 'stock', or that of the method that `keys` names. */
  layout?: CompressionMethod['layout'];
  valueSlots?: CompressionMethod['valueSlots'];
  /** That of the method that `keys` names, where it is left out. */
  freeRanks?: CompressionMethod['freeRanks'];
  /** Default true. */
  needsStatistics?: boolean;
  /** Default false, or that of the method that `values` names. */
  needsAttendedMoments?: boolean;
  /** Keys of a whole layer, or the name of a method whose keys are taken. Instead: `keyFactors`. */
  keys?: RopeStrategy | string;
  /** Factors of a group's keys before RoPE, which are folded into stock grouped-query attention. */
  keyFactors?: KeyMethod;
  /** Factors of a group's values, or the name of a method whose values are taken. */
  values: ValueMethod | string;
}

/**
 * Takes the method out of an imported ES module: its default export. What the module's functions throw, and factors of the
 * wrong size, become errors that name the module when the method is used.
 *
 * @param moduleNamespace What `await import(path)` gave.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' when the default export is not a method, naming the field.
 */
export function methodFromModule(moduleNamespace: unknown, label: string): CompressionMethod {
  const plugin = defaultExport(moduleNamespace);
  const expect = (field: string, accepted: boolean, expected: string, received: unknown): void => {
    if (!accepted) throw invalid(label, field, expected, received);
  };
  expect('default export', typeof plugin === 'object' && plugin !== null, 'a compression method (an object)', plugin);
  const {
    title,
    description = '',
    source = label,
    layout,
    valueSlots,
    freeRanks,
    needsStatistics = true,
    needsAttendedMoments,
    keys,
    keyFactors,
    values,
  } = plugin as Partial<Record<keyof MethodPlugin, unknown>>;
  expect('title', typeof title === 'string' && title !== '', 'a title', title);
  expect('description', typeof description === 'string', 'a string', description);
  expect('source', typeof source === 'string', 'a string', source);
  expect('layout', [undefined, 'stock', 'latent'].includes(layout as string), "'stock' or 'latent'", layout);
  expect('valueSlots', [undefined, 'group', 'head'].includes(valueSlots as string), "'group' or 'head'", valueSlots);
  const ranksFit = freeRanks === undefined || (typeof freeRanks === 'object' && freeRanks !== null);
  expect('freeRanks', ranksFit, 'an object { basis, stage }', freeRanks);
  expect('needsStatistics', typeof needsStatistics === 'boolean', 'true or false', needsStatistics);
  const wantsMoments = [undefined, true, false].includes(needsAttendedMoments as boolean | undefined);
  expect('needsAttendedMoments', wantsMoments, 'true or false', needsAttendedMoments);
  const alone = keys === undefined || keyFactors === undefined;
  expect('keyFactors', alone, 'either keys or keyFactors', 'both');
  const named = (field: string, part: unknown): CompressionMethod | undefined => {
    if (typeof part === 'function') return undefined;
    const known = typeof part === 'string' && Object.hasOwn(compressionMethods, part);
    const expected = `a function or one of ${Object.keys(compressionMethods).join(', ')}`;
    expect(field, known, expected, part);
    return compressionMethods[part as string];
  };
  const namedKeys = named(keyFactors === undefined ? 'keys' : 'keyFactors', keyFactors ?? keys);
  const namedValues = named('values', values);
  const slots = (valueSlots ?? namedValues?.valueSlots) as CompressionMethod['valueSlots'];
  const ownLayout = layout ?? (slots === 'head' ? 'latent' : (namedKeys?.layout ?? 'stock'));
  const resolvedLayout = ownLayout as CompressionMethod['layout'];
  const ownKeys = () =>
    typeof keyFactors === 'function'
      ? foldedKeys(checkedFactors(keyFactors as KeyMethod, 'keyFactors', label))
      : checkedKeys(keys as RopeStrategy, resolvedLayout, label);
  const ranks = (freeRanks ?? namedKeys?.freeRanks) as CompressionMethod['freeRanks'];
  return {
    title: title as string,
    description: description as string,
    source: source as string,
    layout: resolvedLayout,
    ...(slots && { valueSlots: slots }),
    ...(ranks && { freeRanks: ranks }),
    needsStatistics: needsStatistics as boolean,
    ...((needsAttendedMoments ?? namedValues?.needsAttendedMoments) && { needsAttendedMoments: true }),
    keys: namedKeys?.keys ?? ownKeys(),
    values: namedValues?.values ?? checkedFactors(values as ValueMethod, 'values', label),
  };
}

function invalid(label: string, field: string, expected: string, received: unknown): KvlrError {
  const shown =
    typeof received === 'string' ? JSON.stringify(received) : received === undefined ? 'none' : typeof received;
  return new KvlrError('plugin-invalid', {
    message: `${label}: expected ${field} to be ${expected}, got ${shown}`,
    hint: 'examples/methods/strongest-head.mjs is a method that works.',
    data: { module: label, field },
  });
}
