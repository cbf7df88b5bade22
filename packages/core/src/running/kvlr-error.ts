/** What went wrong, as a stable identifier that programs may branch on. */
export type KvlrErrorCode =
  | 'usage'
  | 'aborted'
  | 'file-missing'
  | 'file-truncated'
  | 'file-malformed'
  | 'file-exists'
  | 'in-use'
  | 'source-changed'
  | 'disk-full'
  | 'write-failed'
  | 'network'
  | 'access-denied'
  | 'unknown-architecture'
  | 'unsupported-feature'
  | 'tensor-missing'
  | 'tensor-shape'
  | 'non-finite'
  | 'tokenizer-mismatch'
  | 'heads-not-divisible'
  | 'text-empty'
  | 'text-too-short'
  | 'grouping-invalid'
  | 'budget-invalid'
  | 'plugin-invalid'
  | 'recipe-invalid'
  | 'run-mismatch'
  | 'backend-unavailable'
  | 'memory-exceeded'
  | 'device-lost'
  | 'device-error'
  | 'cache-mismatch'
  | 'weights-mismatch'
  | 'worker-failed'
  | 'numerical'
  | 'invalid-argument';

/** Where it went wrong. Fields that a caller knows and the thrower does not are added by `error.with({...})`. */
export interface KvlrErrorPlace {
  /** ES module of a plug-in. */
  module?: string;
  file?: string;
  layer?: number;
  tensor?: string;
  /** Argument, setting or field that holds the wrong value. */
  argument?: string;
}

export interface KvlrErrorDetails {
  /** One sentence: what was expected, what came. */
  message: string;
  /** One sentence that tells how to go on, where there is a way. Speaks of arguments, never of command-line flags. */
  hint?: string;
  where?: KvlrErrorPlace;
  /** The values behind the message, for programs: expected, received. */
  data?: Record<string, unknown>;
  cause?: unknown;
}

const marker = Symbol.for('kvlr.error');

/**
 * The one error class of kvlr. `isInstance` works across duplicated copies of this package. `reason` is the sentence alone;
 * `message` is the sentence behind the place: 'model.safetensors, layer 3: expected ...'.
 */
export class KvlrError extends Error {
  readonly code: KvlrErrorCode;
  readonly reason: string;
  readonly hint: string | undefined;
  readonly data: Record<string, unknown>;
  where: Readonly<KvlrErrorPlace>;

  constructor(code: KvlrErrorCode, details: KvlrErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'KvlrError';
    this.code = code;
    this.reason = details.message;
    this.hint = details.hint;
    this.data = details.data ?? {};
    this.where = {};
    Object.defineProperty(this, marker, { value: true });
    this.with(details.where ?? {});
  }

  /** Adds what the caller knows of the place, keeping what is known already, and returns this error to be thrown on. */
  with(place: KvlrErrorPlace): this {
    this.where = { ...place, ...this.where };
    const { module, file, layer, tensor, argument } = this.where;
    const parts = [module, file, layer === undefined ? undefined : `layer ${layer}`, tensor, argument];
    const named = parts.filter((part) => part !== undefined);
    this.message = named.length === 0 ? this.reason : `${named.join(', ')}: ${this.reason}`;
    return this;
  }

  static isInstance(value: unknown): value is KvlrError {
    return typeof value === 'object' && value !== null && marker in value;
  }
}

/** Adds a place to a KvlrError that passes by; other values pass unchanged. `catch (error) { throw withPlace(error, { layer }); }` */
export function withPlace(error: unknown, place: KvlrErrorPlace): unknown {
  return KvlrError.isInstance(error) ? error.with(place) : error;
}
