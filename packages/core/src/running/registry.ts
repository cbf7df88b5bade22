import { KvlrError } from './kvlr-error.ts';

/** A schema as the Standard Schema interface has it (standardschema.dev); zod's schemas are such. */
export interface StandardSchema<Output> {
  readonly '~standard': {
    validate(value: unknown):
      | { value: Output; issues?: undefined }
      | {
          issues: readonly { message: string; path?: readonly (PropertyKey | { key: PropertyKey })[] | undefined }[];
        }
      | Promise<unknown>;
  };
}

/** What `import()` of a plug-in's module gave, and what names it: a hash of its source and the path for messages. */
export interface ImportedModule {
  moduleNamespace: unknown;
  label: string;
  hash: string;
}

/** Port: imports the ES module at a path. Node brings one that reads files; in the browser there is none. */
export type ModuleLoader = (path: string) => Promise<ImportedModule>;

/** What a name or a path stands for. */
export interface Resolved<Value> {
  value: Value;
  /** Hash of the module's source; undefined for what is built in. */
  hash?: string | undefined;
}

export interface RegistrySettings<Value> {
  /** What is registered, for messages: 'grouping strategy'. */
  kind: string;
  /** What is built in, by name. */
  entries: Readonly<Record<string, Value>>;
  /** What the default export of a module must be, and what is made of it. */
  schema?: StandardSchema<Value>;
  /** How to write such a module, for the hint of an error. */
  example?: string;
}

/**
 * Things that can be asked for by name, or by the path of an ES module whose default export is such a thing. The one
 * mechanism behind methods, grouping strategies, budgets, RoPE strategies, architectures and cache codecs.
 */
export class Registry<Value> {
  readonly kind: string;
  readonly entries: Readonly<Record<string, Value>>;
  private readonly settings: RegistrySettings<Value>;

  constructor(settings: RegistrySettings<Value>) {
    this.kind = settings.kind;
    this.entries = settings.entries;
    this.settings = settings;
  }

  get names(): string[] {
    return Object.keys(this.entries);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.entries, name);
  }

  /** Throws KvlrError 'usage' for an unknown name, with those that there are. */
  get(name: string): Value {
    if (this.has(name)) return this.entries[name]!;
    throw new KvlrError('usage', {
      message: `expected a ${this.kind}: one of ${this.names.join(', ')}, got ${JSON.stringify(name)}`,
      hint: `${didYouMean(name, this.names)}Name one of these, or give the path of an ES module, such as ./mine.mjs, that exports a ${this.kind}.`,
      data: { name, names: this.names },
    });
  }

  /**
   * The thing that an imported module exports by default, checked by the schema.
   *
   * @throws KvlrError 'plugin-invalid', which names the module and the field.
   */
  fromModule({ moduleNamespace, label }: Pick<ImportedModule, 'moduleNamespace' | 'label'>): Value {
    const exported = (moduleNamespace as { default?: unknown } | undefined)?.default;
    const result = this.settings.schema?.['~standard'].validate(exported);
    if (result === undefined) return exported as Value;
    if (result instanceof Promise || !('issues' in result || 'value' in result)) {
      throw new TypeError(`the schema of a ${this.kind} must be synchronous`);
    }
    if (result.issues === undefined) return result.value;
    const issue = result.issues[0]!;
    const field = issue.path?.map((step) => String(typeof step === 'object' ? step.key : step)).join('.');
    throw new KvlrError('plugin-invalid', {
      message: `expected a default export that is a ${this.kind}${field ? `; ${field}` : ''}: ${issue.message}`,
      ...(this.settings.example !== undefined && { hint: this.settings.example }),
      where: { module: label },
      data: { module: label, ...(field && { field }) },
    });
  }

  /** What a name or path stands for. A path is imported by `load`; without one only names are known. */
  async resolve(nameOrPath: string, load?: ModuleLoader): Promise<Resolved<Value>> {
    if (load === undefined || !isModulePath(nameOrPath)) return { value: this.get(nameOrPath) };
    const imported = await load(nameOrPath);
    return { value: this.fromModule(imported), hash: imported.hash };
  }
}

/** True for the path of an ES module ('./mine.mjs', '/home/me/mine.js', 'C:\\mine.mjs'), false for a name. */
export function isModulePath(nameOrPath: string): boolean {
  return /^\.|^[\\/]|^[A-Za-z]:[\\/]|\.[cm]?js(on)?$/.test(nameOrPath);
}

/** 'Did you mean X? ' where one of the names is spelled nearly so, else nothing: for the beginning of a hint. */
export function didYouMean(name: string, names: readonly string[]): string {
  const distances = names.map((known) => editDistance(name.toLowerCase(), known.toLowerCase()));
  const least = Math.min(...distances);
  return least <= Math.max(1, Math.floor(name.length / 3)) ? `Did you mean ${names[distances.indexOf(least)]}? ` : '';
}

/** Letters to insert, delete or replace to make one text of the other (Levenshtein 1966). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[to.length]!;
}
