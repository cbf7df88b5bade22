import { type GroupingStrategy, KvlrError } from '@kvlr/core';

/**
 * Takes the strategy out of an imported ES module: its default export.
 *
 * @param moduleNamespace What `await import(path)` gave.
 * @param label Path of the module, for messages.
 * @throws KvlrError 'plugin-invalid' when the default export is not a function.
 */
export function strategyFromModule(moduleNamespace: unknown, label: string): GroupingStrategy {
  const candidate =
    typeof moduleNamespace === 'object' && moduleNamespace !== null && 'default' in moduleNamespace
      ? moduleNamespace.default
      : undefined;
  if (typeof candidate !== 'function') {
    throw new KvlrError('plugin-invalid', {
      message: `${label}: expected a default export that is a grouping strategy (a function), got ${candidate === undefined ? 'none' : typeof candidate}`,
      remedy: 'Write: export default ({ heads, groups }) => [[...], ...]; examples/grouping/interleaved.mjs is one.',
      data: { module: label },
    });
  }
  return candidate as GroupingStrategy;
}
