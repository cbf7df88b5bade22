import { KvlrError } from './kvlr-error.ts';

/** Names of the pipeline's stages, in the order in which they run. */
export type StageName =
  | 'inspect'
  | 'statistics'
  | 'budget'
  | 'grouping'
  | 'factors'
  | 'recovery'
  | 'evaluation'
  | 'report'
  | 'write';

/** What libraries emit while they work. Only apps draw. */
export type KvlrEvent =
  | { type: 'stage-started'; stage: StageName; title: string }
  | { type: 'progress'; stage: StageName; completed: number; total: number; unit: string; detail?: string }
  | { type: 'stage-finished'; stage: StageName; seconds: number; skipped: boolean; detail?: string }
  | { type: 'note'; message: string; data?: Record<string, unknown> }
  | { type: 'warning'; message: string; data?: Record<string, unknown> };

export type EventListener = (event: KvlrEvent) => void;

/** What every long-running function of kvlr accepts. */
export interface RunControl {
  onEvent?: EventListener;
  signal?: AbortSignal;
}

/** Throws a KvlrError with code 'aborted' once the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new KvlrError('aborted', { message: 'The work was stopped before it was done.', cause: signal.reason });
  }
}

export interface OrderedWork<Item, Result> {
  items: readonly Item[];
  /** Items that are worked on at once, from 1. */
  concurrency: number;
  work: (item: Item, index: number) => Promise<Result>;
  /** Sees every result in the order of the items, as soon as those before it are there. */
  onResult?: (result: Result, index: number) => void;
  signal?: AbortSignal | undefined;
}

/**
 * Works on several items at once and hands the results over in the items' order, so that sums over them do not depend on
 * how many ran at once. After an error or an abort nothing more is started; what is under way ends first, then it rejects.
 */
export async function mapInOrder<Item, Result>(request: OrderedWork<Item, Result>): Promise<Result[]> {
  const { items, concurrency, work, onResult, signal } = request;
  const results = new Map<number, Result>();
  let started = 0;
  let delivered = 0;
  let failed = false;
  const runOneByOne = async () => {
    while (started < items.length && !failed) {
      const index = started++;
      try {
        throwIfAborted(signal);
        results.set(index, await work(items[index]!, index));
        for (; !failed && results.has(delivered); delivered++) onResult?.(results.get(delivered)!, delivered);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const runners = await Promise.allSettled(
    Array.from({ length: Math.min(concurrency, items.length) }, () => runOneByOne()),
  );
  for (const runner of runners) if (runner.status === 'rejected') throw runner.reason;
  return items.map((_, index) => results.get(index)!);
}
