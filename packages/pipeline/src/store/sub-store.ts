import type { RunStore } from './run-store.ts';

/** A part of a store: every name gets the prefix, which ends in '/'. */
export function subStore(store: RunStore, prefix: string): RunStore {
  return {
    read: (name) => store.read(prefix + name),
    write: (name, bytes) => store.write(prefix + name, bytes),
    appendLine: (name, line) => store.appendLine(prefix + name, line),
    remove: (name) => store.remove(prefix + name),
    list: async () => {
      const names = await store.list();
      return names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    },
  };
}
