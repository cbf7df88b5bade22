import { createRandom } from '@kvlr/core';

/** Files by name. */
export type Input = Record<string, Uint8Array>;

/** A kind of untrusted input. */
export interface Target {
  /** An input that is wrong somewhere, of these files. */
  make(dice: Dice): Input;
  /** Reads all of it. */
  read(input: Input): Promise<unknown>;
  /** How much longer than others an input takes: so many times fewer are tried. */
  cost?: number;
}

/** Numbers from a seed: the same seed makes the same input. */
export class Dice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = createRandom(seed);
  }

  /** A whole number below `count`. */
  below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)]!;
  }
}

/** What a field may hold that nobody expects there. */
const oddValues: readonly (() => unknown)[] = [
  ...[null, true, false, '', 'x', '__proto__', 'toString', '../../x', 'x'.repeat(10_000), [], {}, [null], [[]]],
  ...[0, -0, -1, 1, 2, 3, 1.5, 255, 65_536, 1e6, 1e9, 5e9, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, -1e308, 1e-45],
  ...[{ toString: 1 }, { length: 1e9 }, { constructor: null }, '<s>', '(a+)+$', '\ud800', '\0'],
].map((value) => () => structuredClone(value));

const deep = (open: string, close: string, levels: number) => open.repeat(levels) + close.repeat(levels);

/** JSON with one to three of its values replaced, removed, doubled or exchanged; now and then another text altogether. */
export function mutateJson(text: string, dice: Dice): string {
  if (dice.below(20) === 0) {
    return dice.pick([
      deep('[', ']', 6000),
      deep('{"a":', '}', 6000),
      'null',
      '[]',
      '',
      '{',
      '{"a":1,"a":2}',
      `"${text}"`,
    ]);
  }
  if (dice.below(6) === 0) return new TextDecoder().decode(mutateBytes(new TextEncoder().encode(text), dice));
  const top = { value: JSON.parse(text) as unknown };
  for (let change = dice.below(3); change >= 0; change--) mutateNode(top, dice);
  const changed = JSON.stringify(top.value) ?? '';
  // A key that stands twice.
  return dice.below(15) === 0
    ? changed.replace(/^\{("[^"]*":)/, `{$1${dice.pick(['null', '0', '"x"', '[]'])},$1`)
    : changed;
}

function mutateNode(top: { value: unknown }, dice: Dice): void {
  let holder: Record<string, unknown> = top as Record<string, unknown>;
  let key = 'value';
  // Down to where the dice stop.
  while (typeof holder[key] === 'object' && holder[key] !== null && dice.below(5) > 0) {
    const keys = Object.keys(holder[key] as object);
    if (keys.length === 0) break;
    holder = holder[key] as Record<string, unknown>;
    key = dice.pick(keys);
  }
  const value = holder[key];
  const kind = dice.below(8);
  if (kind === 0 && holder !== (top as object)) delete holder[key];
  else if (kind === 1 && typeof value === 'number') holder[key] = value + dice.pick([-1, 1, 0.5, 1e6]);
  else if (kind === 2 && typeof value === 'number') holder[key] = value * dice.pick([-1, 2, 1e3, 1e12]);
  else if (kind === 3 && Array.isArray(value)) value.push(...value.slice(0, 1000));
  else if (kind === 4 && typeof value === 'object' && value !== null) {
    const name = dice.pick(['__proto__', 'constructor', '', 'x', '..', 'toString', 'processors', 'vocab']);
    const entry = { value: dice.pick(oddValues)(), writable: true, enumerable: true, configurable: true };
    Object.defineProperty(value, name, entry);
  } else if (kind === 5) {
    const keys = Object.keys(holder);
    const other = dice.pick(keys);
    [holder[key], holder[other]] = [holder[other], holder[key]];
  } else holder[key] = dice.pick(oddValues)();
}

/** Bytes with a few of them turned, cut, doubled, exchanged or overwritten with numbers at their limits. */
export function mutateBytes(bytes: Uint8Array, dice: Dice, within = bytes.length): Uint8Array {
  let result: Uint8Array = Uint8Array.from(bytes);
  for (let change = dice.below(4); change >= 0 && result.length > 0; change--) {
    const place = dice.below(Math.min(within, result.length));
    const kind = dice.below(7);
    if (kind === 0) result[place]! ^= 1 << dice.below(8);
    else if (kind === 1) result[place] = dice.pick([0, 1, 0x7f, 0x80, 0xff]);
    else if (kind === 2) result = result.slice(0, place);
    else if (kind === 3) result = joined(result.subarray(0, place), result.subarray(place + 1 + dice.below(16)));
    else if (kind === 4) {
      const piece = result.subarray(place, place + 1 + dice.below(64));
      result = joined(result.subarray(0, place), piece, result.subarray(place));
    } else if (place + 8 <= result.length) {
      const view = new DataView(result.buffer, result.byteOffset);
      const limits = [
        0n,
        1n,
        255n,
        2n ** 31n - 1n,
        2n ** 31n,
        2n ** 32n - 1n,
        2n ** 32n,
        2n ** 53n,
        2n ** 63n,
        2n ** 64n - 1n,
      ];
      if (kind === 5) view.setBigUint64(place, dice.pick(limits), true);
      else view.setUint32(place, Number(dice.pick(limits) & 0xffffffffn), true);
    }
  }
  return result;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  for (const part of parts) {
    result.set(part, place);
    place += part.length;
  }
  return result;
}

/** A template or other text with pieces of its own language put in, taken out and doubled. */
export function mutateText(text: string, pieces: readonly string[], dice: Dice): string {
  let result = text;
  for (let change = dice.below(4); change >= 0; change--) {
    const place = dice.below(result.length + 1);
    const kind = dice.below(3);
    if (kind === 0) result = result.slice(0, place) + dice.pick(pieces) + result.slice(place);
    else if (kind === 1) result = result.slice(0, place) + result.slice(place + 1 + dice.below(12));
    else result = result.slice(0, place) + result.slice(place, place + dice.below(40)) + result.slice(place);
  }
  return result;
}

export const encode = (text: string) => new TextEncoder().encode(text);
export const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Files of which one is made wrong, in the way that its name calls for. */
export function withOneWrong(files: Input, names: readonly string[], dice: Dice): Input {
  const name = dice.pick(names);
  return { ...files, [name]: mutateFile(name, files[name]!, dice) };
}

function mutateFile(name: string, bytes: Uint8Array, dice: Dice): Uint8Array {
  if (name.endsWith('.json')) return encode(mutateJson(decode(bytes), dice));
  return dice.below(2) === 0 ? mutateHeader(bytes, dice) : mutateBytes(bytes, dice, 4000);
}

/** A safetensors file with a wrong header of the right length. */
export function mutateHeader(bytes: Uint8Array, dice: Dice): Uint8Array {
  const end = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = encode(mutateJson(decode(bytes.subarray(8, end)), dice));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return joined(length, header, bytes.subarray(end));
}
