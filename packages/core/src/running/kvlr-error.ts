/** What went wrong, as a stable identifier that programs may branch on. */
export type KvlrErrorCode =
  | 'usage'
  | 'aborted'
  | 'file-missing'
  | 'file-truncated'
  | 'file-malformed'
  | 'file-exists'
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

export interface KvlrErrorDetails {
  /** One sentence: where it happened, what was expected, what came. */
  message: string;
  /** One sentence that tells the user how to mend it, when the user can. */
  remedy?: string;
  /** The values behind the message, for programs: file, tensor, expected, received. */
  data?: Record<string, unknown>;
  cause?: unknown;
}

const marker = Symbol.for('kvlr.error');

/** The one error class of kvlr. `isInstance` works across duplicated copies of this package. */
export class KvlrError extends Error {
  readonly code: KvlrErrorCode;
  readonly remedy: string | undefined;
  readonly data: Record<string, unknown>;

  constructor(code: KvlrErrorCode, details: KvlrErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'KvlrError';
    this.code = code;
    this.remedy = details.remedy;
    this.data = details.data ?? {};
    Object.defineProperty(this, marker, { value: true });
  }

  static isInstance(value: unknown): value is KvlrError {
    return typeof value === 'object' && value !== null && marker in value;
  }
}
