import { KvlrError } from '@kvlr/core';

/** Typed reading of config.json's fields; every refusal names the file and the field. */
export class ConfigReader {
  readonly config: Record<string, unknown>;

  constructor(config: Record<string, unknown>) {
    this.config = config;
  }

  /** A whole number of at least 1. Null and absence take the fallback, where there is one. */
  count(field: string, fallback?: number): number {
    const value = this.config[field] ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 1)
      throw malformedConfig(field, 'a positive whole number', value);
    return value as number;
  }

  positive(field: string, fallback: number): number {
    const value = this.config[field] ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0)
      throw malformedConfig(field, 'a positive number', value);
    return value;
  }

  flag(field: string, fallback: boolean): boolean {
    const value = this.config[field] ?? fallback;
    if (typeof value !== 'boolean') throw malformedConfig(field, 'true or false', value);
    return value;
  }
}

export function malformedConfig(field: string, expected: string, received: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `modelShapeFromConfig: config.json: expected ${field} to be ${expected}, got ${JSON.stringify(received)}`,
    hint: 'Take config.json from the same place as the weights.',
    data: { file: 'config.json', field, received },
  });
}

export function unsupportedConfig(field: string, reason: string, received: unknown): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `modelShapeFromConfig: config.json: ${field} = ${JSON.stringify(received)} (${reason}) is not supported`,
    hint: 'Use a checkpoint without this feature.',
    data: { file: 'config.json', field, received },
  });
}
