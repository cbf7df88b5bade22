import type { RunStore } from './run-store.ts';

/** A run store that lives as long as the page or the process: for browsers, tests and one-off calls. */
export class MemoryRunStore implements RunStore {
  readonly #entries = new Map<string, Uint8Array>();

  async read(name: string): Promise<Uint8Array | undefined> {
    return this.#entries.get(name);
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    this.#entries.set(name, bytes);
  }

  async appendLine(name: string, line: string): Promise<void> {
    const before = this.#entries.get(name) ?? new Uint8Array(0);
    const added = new TextEncoder().encode(`${line}\n`);
    const joined = new Uint8Array(before.length + added.length);
    joined.set(before);
    joined.set(added, before.length);
    this.#entries.set(name, joined);
  }

  async list(): Promise<string[]> {
    return [...this.#entries.keys()].sort();
  }

  async remove(name: string): Promise<void> {
    for (const entry of this.#entries.keys()) {
      if (entry === name || (name.endsWith('/') && entry.startsWith(name))) this.#entries.delete(entry);
    }
  }
}
