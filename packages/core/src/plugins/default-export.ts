import { KvlrError } from '../running/kvlr-error.ts';

/** The default export of an imported module, if it has one: `await import(path)` gives the module. */
export function defaultExport(moduleNamespace: unknown): unknown {
  return typeof moduleNamespace === 'object' && moduleNamespace !== null && 'default' in moduleNamespace
    ? moduleNamespace.default
    : undefined;
}

export interface FunctionExport {
  /** Path of the module, for messages. */
  label: string;
  /** What it is to export: 'a grouping strategy (a function)'. */
  expected: string;
  hint: string;
}

/** The function that a plug-in's module exports by default. Throws KvlrError 'plugin-invalid' when it is none. */
export function defaultFunction(moduleNamespace: unknown, { label, expected, hint }: FunctionExport): unknown {
  const candidate = defaultExport(moduleNamespace);
  if (typeof candidate === 'function') return candidate;
  const received = candidate === undefined ? 'none' : typeof candidate;
  throw new KvlrError('plugin-invalid', {
    message: `${label}: expected a default export that is ${expected}, got ${received}`,
    hint,
    data: { module: label },
  });
}
