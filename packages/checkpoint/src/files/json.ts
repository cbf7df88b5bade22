/** JSON nested deeper than this is refused, since most of what walks through a value calls itself. */
const maxDepth = 200;

type Container = Record<string, unknown> | unknown[];

/** What a JSON text says, and how it spells its numbers. */
export interface ParsedJson {
  value: unknown;
  /** Numbers that JavaScript writes otherwise (2.0, 1e3, integers beyond 2^53), by the object or array that holds them and their key. */
  spellings: ReadonlyMap<object, ReadonlyMap<string, string>>;
}

/**
 * Reads JSON as Python's writer makes it: besides the standard NaN, Infinity and -Infinity. Of equal keys the last counts, unless
 * they are refused.
 *
 * @throws SyntaxError saying what stands where.
 */
export function parseJson(text: string, settings: { refuseEqualKeys?: boolean } = {}): ParsedJson {
  return new JsonReader(text, settings.refuseEqualKeys === true).read();
}

/** The value as JSON, indented by two spaces; a number that stands at the same place in `source` is spelled as it is there. */
export function formatJson(value: unknown, source?: ParsedJson): string {
  return `${format(value, source?.value, source?.spellings ?? new Map(), '\n')}\n`;
}

function format(value: unknown, original: unknown, spellings: ParsedJson['spellings'], indent: string): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const originals = isContainer(original) ? (original as Record<string, unknown>) : {};
  const spelled = spellings.get(originals);
  const inner = `${indent}  `;
  const entries = Object.entries(value).flatMap(([key, entry]) => {
    if (entry === undefined && !Array.isArray(value)) return [];
    const own = spelled?.get(key);
    const isSame = own !== undefined && Object.is(entry, originals[key]);
    const text = isSame ? own : format(entry ?? null, originals[key], spellings, inner);
    return [Array.isArray(value) ? text : `${JSON.stringify(key)}: ${text}`];
  });
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  return entries.length === 0 ? `${open}${close}` : `${open}${inner}${entries.join(`,${inner}`)}${indent}${close}`;
}

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null;
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const space = /[ \t\n\r]*/y;
/** Up to the closing quotation mark; what JSON forbids in it is left to JSON.parse. */
const string = /"[^"\\]*(?:\\.[^"\\]*)*"/y;
const words: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  null: null,
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};
const word = /true|false|null|NaN|-?Infinity/y;

class JsonReader {
  readonly #text: string;
  readonly #refuseEqualKeys: boolean;
  readonly #spellings = new Map<object, Map<string, string>>();
  #position = 0;
  #depth = 0;

  constructor(text: string, refuseEqualKeys: boolean) {
    this.#text = text;
    this.#refuseEqualKeys = refuseEqualKeys;
  }

  read(): ParsedJson {
    const top: unknown[] = [];
    this.#value(top, '0');
    this.#skipSpace();
    if (this.#position < this.#text.length) throw this.#unexpected('the end');
    return { value: top[0], spellings: this.#spellings };
  }

  /** Reads a value into a container. */
  #value(holder: Container, key: string): void {
    this.#skipSpace();
    const first = this.#text[this.#position];
    if (first === '{') define(holder, key, this.#object());
    else if (first === '[') define(holder, key, this.#array());
    else if (first === '"') define(holder, key, this.#string());
    else this.#numberOrWord(holder, key);
  }

  #numberOrWord(holder: Container, key: string): void {
    const named = this.#match(word);
    if (named !== undefined) {
      define(holder, key, words[named]);
      if (typeof words[named] === 'number') this.#keepSpelling(holder, key, named);
      return;
    }
    const digits = this.#match(number);
    if (digits === undefined) throw this.#unexpected('a value');
    const value = Number(digits);
    define(holder, key, value);
    if (String(value) !== digits) this.#keepSpelling(holder, key, digits);
  }

  #keepSpelling(holder: Container, key: string, spelling: string): void {
    const known = this.#spellings.get(holder) ?? new Map<string, string>();
    this.#spellings.set(holder, known.set(key, spelling));
  }

  #object(): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.#items('}', () => {
      this.#skipSpace();
      if (this.#text[this.#position] !== '"') throw this.#unexpected('a key');
      const key = this.#string();
      if (this.#refuseEqualKeys && Object.hasOwn(object, key)) {
        throw new SyntaxError(`the key ${JSON.stringify(key)} twice`);
      }
      // Of equal keys the last one counts, and so does its spelling.
      this.#spellings.get(object)?.delete(key);
      this.#skipSpace();
      if (this.#text[this.#position] !== ':') throw this.#unexpected("':'");
      this.#position++;
      this.#value(object, key);
    });
    return object;
  }

  #array(): unknown[] {
    const array: unknown[] = [];
    this.#items(']', () => this.#value(array, String(array.length)));
    return array;
  }

  #items(close: string, readItem: () => void): void {
    this.#depth++;
    if (this.#depth > maxDepth) throw new SyntaxError(`nesting deeper than ${maxDepth} levels`);
    this.#position++;
    this.#skipSpace();
    if (this.#text[this.#position] === close) this.#position++;
    else {
      let next = ',';
      while (next === ',') {
        readItem();
        this.#skipSpace();
        next = this.#text[this.#position] ?? '';
        if (next !== ',' && next !== close) throw this.#unexpected(`',' or '${close}'`);
        this.#position++;
      }
    }
    this.#depth--;
  }

  #string(): string {
    const quoted = this.#match(string);
    if (quoted === undefined) throw this.#unexpected('a string with an end');
    return JSON.parse(quoted);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#position += found.length;
    return found;
  }

  #skipSpace(): void {
    this.#match(space);
  }

  #unexpected(expected: string): SyntaxError {
    const found = this.#text.slice(this.#position, this.#position + 12);
    const received = found === '' ? 'the end' : JSON.stringify(found);
    return new SyntaxError(`${received} in place of ${expected} at character ${this.#position}`);
  }
}

/** Sets an entry of its own even where the key is __proto__. */
function define(holder: Container, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
  } else (holder as Record<string, unknown>)[key] = value;
}
