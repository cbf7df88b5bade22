import type { CachedCost } from './cached-cost.ts';

/** How often the search lets the event loop run, so that an abort can arrive, in milliseconds. */
const breathEvery = 25;

export interface SearchLimits {
  /** Different groups whose cost may be asked for. */
  evaluations: number;
  /** Wall-clock time. Results under a time limit depend on the machine. */
  milliseconds?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Why a search ended: it had nothing left to try, or which limit it met. */
export type SearchEnd = 'finished' | 'evaluations' | 'time' | 'aborted';

/** Watches the limits of a search. */
export class SearchBudget {
  private readonly started = performance.now();
  private breathed = performance.now();

  constructor(
    private readonly limits: SearchLimits,
    private readonly cost: CachedCost,
  ) {}

  /** The limit that has been met; undefined while there is room. */
  get end(): Exclude<SearchEnd, 'finished'> | undefined {
    const { evaluations, milliseconds, signal } = this.limits;
    if (signal?.aborted) return 'aborted';
    if (this.cost.evaluations >= evaluations) return 'evaluations';
    if (milliseconds !== undefined && performance.now() - this.started >= milliseconds) return 'time';
    return undefined;
  }

  /** Lets other work of the program run now and then. Returns whether the search may go on. */
  async mayGoOn(): Promise<boolean> {
    if (performance.now() - this.breathed > breathEvery) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.breathed = performance.now();
    }
    return this.end === undefined;
  }
}
