import type { Effort } from '../store/effort.ts';

/** Takes what a stage needs, from the moment it is made. */
export class Stopwatch {
  readonly #started = performance.now();
  #lapStarted = this.#started;

  constructor(private readonly peakMemoryBytes: () => number | undefined) {}

  /** Since the beginning. */
  total(): Effort {
    return this.#since(this.#started);
  }

  /** Since the beginning or the last call, whichever is later. */
  lap(): Effort {
    const lap = this.#since(this.#lapStarted);
    this.#lapStarted = performance.now();
    return lap;
  }

  #since(moment: number): Effort {
    return { seconds: (performance.now() - moment) / 1000, peakMemoryBytes: this.peakMemoryBytes() };
  }
}
