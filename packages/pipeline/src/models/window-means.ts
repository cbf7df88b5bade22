import type { StreamStorage } from '@kvlr/core';
import type { BackendName } from '@kvlr/runtime';

/** What runs the windows of a compression. */
export interface WindowMeans {
  backend: BackendName;
  /** Windows run in native code. */
  native: boolean;
  /** Threads that do so side by side; 1 where the main thread does it alone. */
  threads: number;
  /** Bytes of streams that a stage holds in memory at most, each set of them; the rest is on disk. Undefined: all. */
  streamBytes?: number | undefined;
}

/**
 * What windows would run on, as a request says.
 *
 * @param threads Default: as many as there are workers.
 */
export function plannedMeans(
  runtime: { workers?: { count: number } | undefined; streams?: StreamStorage | undefined } | undefined,
  backend: BackendName,
  native: boolean,
  threads = 1,
): WindowMeans {
  return { backend, native, threads: runtime?.workers?.count ?? threads, streamBytes: runtime?.streams?.memoryBytes };
}
