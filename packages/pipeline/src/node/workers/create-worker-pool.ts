import { KvlrError } from '@kvlr/core';
import type { WorkerTaskName, WorkerTasks } from '../../workers/messages.ts';
import type { ModelInWorkers, ModelWorkers } from '../../workers/model-workers.ts';
import { shareModel } from '../../workers/shared-model.ts';
import { ModelWorkerThread } from './model-worker-thread.ts';

export interface WorkerPool extends ModelWorkers {
  /** Ends the threads. What they were doing is rejected with 'worker-failed'. */
  close(): Promise<void>;
}

/**
 * Threads that run windows of a model side by side, for calibration and evaluation on the CPU. Results are those of one
 * thread, bit for bit: a window is computed by one thread alone, and sums are taken in the order of the windows.
 * Each thread holds the model in float32, and one more copy lies in shared memory. The caller closes the pool.
 *
 * @throws KvlrError 'invalid-argument' unless count is a whole number from 1.
 */
export function createWorkerPool(count: number): WorkerPool {
  if (!Number.isInteger(count) || count < 1) {
    throw new KvlrError('invalid-argument', {
      message: `createWorkerPool: expected a whole number of workers from 1, got ${count}.`,
      data: { count },
    });
  }
  const threads = Array.from({ length: count }, () => new ModelWorkerThread());
  const askIdlest = <Name extends WorkerTaskName>(task: Name, ask: WorkerTasks[Name]['ask']) =>
    threads.reduce((best, thread) => (thread.load < best.load ? thread : best)).ask(task, ask);
  const askAll = <Name extends WorkerTaskName>(task: Name, ask: WorkerTasks[Name]['ask']) =>
    Promise.all(threads.map((thread) => thread.ask(task, ask)));
  let models = 0;
  return {
    count,
    async load(source, backend, cacheDtype): Promise<ModelInWorkers> {
      const model = models++;
      const dispose = () => {
        // A pool that was closed meanwhile has nothing left to free.
        askAll('dispose', { model }).catch(() => undefined);
      };
      try {
        await askAll('load', { model, source: await shareModel(source), backend, cacheDtype });
      } catch (error) {
        dispose();
        throw error;
      }
      return {
        vocabSize: source.shape.vocabSize,
        concurrency: count,
        logits: (tokenIds) => askIdlest('logits', { model, tokenIds }),
        collectStatistics: ({ windows, provenance }) => askIdlest('statistics', { model, windows, provenance }),
        dispose,
      };
    },
    group: (task) => askIdlest('groups', task),
    async close() {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}
