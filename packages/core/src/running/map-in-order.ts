import { throwIfAborted } from './throw-if-aborted.ts';

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
