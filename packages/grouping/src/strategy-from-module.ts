import { defaultFunction, type GroupingStrategy } from '@kvlr/core';

/**
 * Takes the strategy out of an imported ES module: its default export.
 *
 * @param moduleNamespace What `await import(path)` gave.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' when the default export is not a function.
 */
export function strategyFromModule(moduleNamespace: unknown, label: string): GroupingStrategy {
  return defaultFunction(moduleNamespace, {
    label,
    expected: 'a grouping strategy (a function)',
    hint: 'Write: export default ({ heads, groups }) => [[...], ...]; examples/grouping/interleaved.mjs is one.',
  }) as GroupingStrategy;
}
