/** What one kernel has done since the counters were reset. */
export interface KernelCount {
  calls: number;
  /** Compute dispatches on WebGPU; 0 elsewhere. */
  dispatches: number;
  /** Bytes of weights and caches that the calls read, each element counted once per read that the algorithm does. */
  bytesRead: number;
}

const counts = new Map<string, KernelCount>();
let current: KernelCount | undefined;

/** Counts of every fused kernel by name, on every backend. For benchmarks: reset, run a step, read `byKernel` or `total`. */
export const kernelCounters = {
  byKernel(): Record<string, KernelCount> {
    return Object.fromEntries([...counts].map(([name, count]) => [name, { ...count }]));
  },
  total(): KernelCount {
    const total = { calls: 0, dispatches: 0, bytesRead: 0 };
    for (const { calls, dispatches, bytesRead } of counts.values()) {
      total.calls += calls;
      total.dispatches += dispatches;
      total.bytesRead += bytesRead;
    }
    return total;
  },
  reset(): void {
    counts.clear();
  },
};

/** Books `run` and the dispatches inside it on a kernel. */
export function countCall<Result>(name: string, bytesRead: number, run: () => Result): Result {
  let count = counts.get(name);
  if (count === undefined) {
    count = { calls: 0, dispatches: 0, bytesRead: 0 };
    counts.set(name, count);
  }
  count.calls++;
  count.bytesRead += bytesRead;
  const outer = current;
  current = count;
  try {
    return run();
  } finally {
    current = outer;
  }
}

/** Books one dispatch on the kernel that is running. */
export function countDispatch(): void {
  if (current !== undefined) current.dispatches++;
}
