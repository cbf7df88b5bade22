/**
 * Port: where a run keeps what resuming needs. Names are relative paths with forward slashes, as listed in `artefactNames`.
 * A write replaces the whole entry at once: a reader sees the old bytes or the new ones.
 */
export interface RunStore {
  /** The bytes under this name; undefined when there are none. */
  read(name: string): Promise<Uint8Array | undefined>;
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Adds one line to a log. A line feed is appended. */
  appendLine(name: string, line: string): Promise<void>;
  /** Names of all entries. */
  list(): Promise<string[]>;
  /** Forgets everything under this name or, when it ends in '/', below it. */
  remove(name: string): Promise<void>;
}

/** The entries of a run, in the order in which they come to be. */
export const artefactNames = {
  recipe: 'recipe.yaml',
  events: 'events.jsonl',
  source: 'source.json',
  statistics: '1-statistics/',
  budgetLosses: '2-budget/losses.json',
  budget: '2-budget/layers.json',
  grouping: '3-grouping.json',
  factors: '4-factors/',
  recovery: '5-recovery/',
  distillation: '6-distillation/',
  adapter: '6-distillation/adapter/',
  evaluation: '7-evaluation.json',
  refit: '7-refit/',
  alternatives: '7-alternatives.json',
  reportData: 'report.json',
  reportHtml: 'report.html',
  reportMarkdown: 'report.md',
  comparisonBase: 'rows/original.json',
  comparisonData: 'comparison.json',
  comparisonHtml: 'comparison.html',
  comparisonMarkdown: 'comparison.md',
  comparisonPicture: 'comparison.svg',
  frontierData: 'frontier.json',
  frontierMarkdown: 'frontier.md',
  frontierPicture: 'frontier.svg',
} as const;

/** Writes text as UTF-8. */
export function writeText(store: RunStore, name: string, text: string): Promise<void> {
  return store.write(name, new TextEncoder().encode(text));
}

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
