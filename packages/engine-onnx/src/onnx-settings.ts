import { KvlrError, type ModelSource } from '@kvlr/core';

export interface OnnxSettings {
  /** Threads of one matrix product. Default: one a processor core. */
  threads?: number | undefined;
  /** A table of the head up to this size is held; a larger one is read in pieces, for each window. Default 256 MiB. */
  residentTableBytes?: number | undefined;
}

/** Throws 'invalid-argument'. */
export function checkArguments(source: ModelSource, settings: OnnxSettings): void {
  const { threads = 1, residentTableBytes = 1 } = Object(settings) as OnnxSettings;
  const wrong = {
    source: typeof Object(source).tensorName !== 'function',
    threads: !(Number.isInteger(threads) && threads >= 1 && threads <= mostThreads),
    residentTableBytes: !(typeof residentTableBytes === 'number' && residentTableBytes > 0),
  };
  const [argument] = Object.entries(wrong).find(([, isWrong]) => isWrong) ?? [];
  if (argument === undefined) return;
  throw new KvlrError('invalid-argument', {
    message: `expected a model, 1 to ${mostThreads} threads and bytes above 0, got another ${argument}`,
    where: { argument },
    data: { threads, residentTableBytes },
  });
}

/** More than any processor has. */
const mostThreads = 1024;
