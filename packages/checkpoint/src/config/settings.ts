import { KvlrError } from '@kvlr/core';
import type { NamedNumber, Setting } from '../architectures/architecture.ts';

type Config = Record<string, unknown>;

const hint = 'Take config.json from the same place as the weights.';

/** A field of config.json that holds what it cannot. */
export function malformedConfig(field: string, expected: string, received: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${JSON.stringify(received)}`,
    hint,
    where: { file: 'config.json', argument: field },
    data: { file: 'config.json', field, received },
  });
}

/** A field of config.json that asks for what kvlr does not compute. */
export function unsupportedConfig(field: string, reason: string, received: unknown): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `${JSON.stringify(received)} (${reason}) is not supported`,
    hint: 'Use a checkpoint without this feature.',
    where: { file: 'config.json', argument: field },
    data: { file: 'config.json', field, received },
  });
}

/** The value of a field, 'a.b' being field b of the object a. Null counts as absent. */
export function fieldOf(config: Config, path: string): unknown {
  let value: unknown = config;
  for (const step of path.split('.')) {
    value = typeof value === 'object' && value !== null ? (value as Config)[step] : undefined;
  }
  return value ?? undefined;
}

interface Evaluated {
  value: unknown;
  /** The field that it was read from, or that could have held it. */
  field: string;
}

/** Reads the entries of a family's shape rules from one config.json; every refusal names the field. */
export class ConfigReader {
  readonly config: Config;
  /** Numbers that other entries are computed from, filled in as they become known, and the fields they came from. */
  readonly numbers: Partial<Record<NamedNumber, number>> = {};
  readonly fields: Partial<Record<NamedNumber, string>> = {};

  constructor(config: Config) {
    this.config = config;
  }

  /** Reads a size, at most `most`, and keeps it under its name. */
  size(name: NamedNumber, setting: Setting, most = Number.MAX_SAFE_INTEGER): number {
    const { field } = this.#evaluate(setting);
    const value = this.count(setting);
    if (value > most) throw malformedConfig(field, `at most ${most}`, value);
    this.fields[name] = field;
    this.numbers[name] = value;
    return value;
  }

  /** A whole number of at least `least`. */
  count(setting: Setting, least = 1): number {
    const { value, field } = this.#evaluate(setting);
    if (!Number.isSafeInteger(value) || (value as number) < least) {
      throw malformedConfig(field, `a whole number of at least ${least}`, value);
    }
    return value as number;
  }

  positive(setting: Setting): number {
    const { value, field } = this.#evaluate(setting);
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
      throw malformedConfig(field, 'a positive number', value);
    }
    return value;
  }

  /** A positive number, or undefined where there is none. */
  optional(setting: Setting | undefined): number | undefined {
    return setting === undefined || this.#evaluate(setting).value === undefined ? undefined : this.positive(setting);
  }

  flag(setting: Setting): boolean {
    const { value, field } = this.#evaluate(setting);
    if (typeof value !== 'boolean') throw malformedConfig(field, 'true or false', value);
    return value;
  }

  /** One of the keys of a table, as what stands under it. */
  choice<Value>(setting: Setting, table: Readonly<Record<string, Value>>): Value {
    const { value, field } = this.#evaluate(setting);
    if (typeof value === 'string' && Object.hasOwn(table, value)) return table[value]!;
    throw unsupportedConfig(field, `known: ${Object.keys(table).join(', ')}`, value);
  }

  #evaluate(setting: Setting): Evaluated {
    if (typeof setting !== 'object' || setting === null) return { value: setting ?? undefined, field: 'model_type' };
    if ('not' in setting) {
      const { field } = this.#evaluate(setting.not);
      return { value: !this.flag(setting.not), field };
    }
    if ('when' in setting) return this.#evaluate(this.holds(setting) ? setting.use : setting.otherwise);
    if ('of' in setting) {
      const field = this.fields[setting.of] ?? setting.of;
      return { value: calculate(this.numbers[setting.of]!, setting), field };
    }
    const names = [setting.field].flat();
    const field = names.find((name) => fieldOf(this.config, name) !== undefined);
    const isNone = setting.nullable === true && names.some((name) => this.config[name] === null);
    const fallback = () => (isNone ? undefined : this.#evaluate(setting.default ?? null).value);
    const found = field === undefined ? fallback() : fieldOf(this.config, field);
    return { value: typeof found === 'number' ? calculate(found, setting) : found, field: field ?? names[0]! };
  }

  /** Whether the condition of a setting of two cases holds. */
  holds({ when, is = true }: Extract<Setting, { when: unknown }>): boolean {
    return (this.#evaluate(when).value ?? null) === is;
  }
}

type Calculation = { power?: number | undefined; times?: number | undefined; plus?: number | undefined };

function calculate(number: number, { power = 1, times = 1, plus = 0 }: Calculation): number {
  return times * (power === 1 ? number : number ** power) + plus;
}

/**
 * Writes a value into the field that a setting is read from, so that reading gives it back, if it is read from any: the one of
 * its fields that is there, else the first.
 */
export function writeSetting(config: Config, setting: Setting | undefined, value: number | boolean | string): void {
  if (typeof setting !== 'object' || setting === null || 'of' in setting) return;
  if ('not' in setting) writeSetting(config, setting.not, !value);
  else if ('when' in setting) {
    writeSetting(config, new ConfigReader(config).holds(setting) ? setting.use : setting.otherwise, value);
  } else {
    const names = [setting.field].flat();
    const isThere = (name: string) => fieldOf(config, name) !== undefined;
    const field = names.find(isThere) ?? names.find((name) => !name.includes('.')) ?? names[0]!;
    const { power = 1, times = 1, plus = 0 } = setting;
    const raw = typeof value === 'number' ? withoutRounding(((value - plus) / times) ** (1 / power)) : value;
    writeField(config, field.split('.'), raw);
  }
}

/** Objects on the way are copied, since a config may share them with the one it was made from. */
function writeField(config: Config, [step, ...more]: string[], value: unknown): void {
  if (more.length === 0) config[step!] = value;
  else {
    const inner = { ...(config[step!] as Config | undefined) };
    writeField(inner, more, value);
    config[step!] = inner;
  }
}

/** The number that was meant: a power of a root misses it by a bit. */
function withoutRounding(number: number): number {
  return Number(number.toPrecision(14));
}
