import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { KvlrError } from '@kvlr/core';
import type { LoadedPart } from '../models/window-stream.ts';
import type { ModelInWorkers, ModelWorkers } from '../models/workers.ts';
import { arraysOf, shareModel, shareQuestion } from '../workers/shared-memory.ts';
import type { WorkerAnswer, WorkerQuestion, WorkerTaskName, WorkerTasks } from '../workers/tasks.ts';

export interface WorkerPool extends ModelWorkers {
  /** Ends the threads. What they were doing is rejected with 'worker-failed'. */
  close(): Promise<void>;
}

/**
 * Threads that run windows of a model side by side, for calibration and evaluation on the CPU. Results are those of one
 * thread, bit for bit: a window is computed by one thread alone, and sums are taken in the order of the windows.
 * Each thread holds one layer in float32 at a time, and one more copy lies in shared memory. The caller closes the pool.
 *
 * @throws KvlrError 'invalid-argument' unless count is a whole number from 1.
 */
export function createWorkerPool(count: number): WorkerPool {
  if (!Number.isInteger(count) || count < 1) {
    throw new KvlrError('invalid-argument', {
      message: `expected a whole number of workers from 1, got ${count}`,
      where: { argument: 'count' },
      data: { count },
    });
  }
  const threads = Array.from({ length: count }, () => new WorkerThread());
  const idlest = () => threads.reduce((best, thread) => (thread.load < best.load ? thread : best));
  const askIdlest = <Name extends WorkerTaskName>(task: Name, ask: WorkerTasks[Name]['ask']) => idlest().ask(task, ask);
  const askAll = <Name extends WorkerTaskName>(task: Name, ask: WorkerTasks[Name]['ask']) =>
    Promise.all(threads.map((thread) => thread.ask(task, ask)));
  let models = 0;
  /** Has every thread load something under a number of its own. */
  const loadEverywhere = async <Name extends 'load' | 'loadPart'>(
    task: Name,
    ask: (model: number) => Promise<WorkerTasks[Name]['ask']>,
  ) => {
    const model = models++;
    const dispose = () => {
      // A pool that was closed meanwhile has nothing left to free.
      askAll('dispose', { model }).catch(() => undefined);
    };
    try {
      await askAll(task, await ask(model));
    } catch (error) {
      dispose();
      throw error;
    }
    return { model, dispose };
  };
  return {
    count,
    async loadPart(source, part, place): Promise<LoadedPart> {
      const { model, dispose } = await loadEverywhere('loadPart', async (number) => {
        return { model: number, source: await shareModel(source, part), place, part };
      });
      return {
        concurrency: count,
        pass: (request) => askIdlest('pass', { model, ...request }),
        logits: (stream) => askIdlest('readOut', { model, stream }),
        dispose,
      };
    },
    async load(source, place): Promise<ModelInWorkers> {
      const { model, dispose } = await loadEverywhere('load', async (number) => {
        return { model: number, source: await shareModel(source), place };
      });
      return {
        vocabSize: source.shape.vocabSize,
        concurrency: count,
        logits: (tokenIds) => askIdlest('logits', { model, tokenIds }),
        collectStatistics: ({ windows, provenance }) => askIdlest('statistics', { model, windows, provenance }),
        dispose,
      };
    },
    gatherMoments: (question) => idlest().ask('moments', question, arraysOf(question.windows)),
    compareLogits: (...compared) => askIdlest('compare', compared),
    group: (question) => askIdlest('groups', shareQuestion(question)),
    async close() {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

/** What a thread without work may take to end by itself. */
const millisecondsToEnd = 2000;

interface Waiting {
  task: WorkerTaskName;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

/** One thread that runs models. Questions are answered in the order in which they are asked. */
class WorkerThread {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 0;
  private failure: KvlrError | undefined;
  private closing = false;

  constructor() {
    // By its public name, so that it is found wherever this module was bundled to.
    this.worker = new Worker(createRequire(import.meta.url).resolve('@kvlr/pipeline/model-worker'), {
      // Flags of the main thread, such as those of a debugger or of import conditions, are not for this one.
      execArgv: [],
    });
    // A thread without work keeps no process alive.
    this.worker.unref();
    this.worker.on('message', (answer: WorkerAnswer) => this.settle(answer));
    this.worker.on('error', (error) => this.failAll(error));
    this.worker.on('exit', (code) => this.failAll(new Error(`it ended with code ${code}`)));
  }

  /** Questions that are asked and not answered. */
  get load(): number {
    return this.waiting.size;
  }

  /** @param moved Memory of the question that the thread takes over, where it is not copied. */
  ask<Name extends WorkerTaskName>(
    task: Name,
    ask: WorkerTasks[Name]['ask'],
    moved: ArrayBuffer[] = [],
  ): Promise<WorkerTasks[Name]['answer']> {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { task, resolve: resolve as Waiting['resolve'], reject });
      this.worker.ref();
      this.worker.postMessage({ id, task, ask } as WorkerQuestion, moved);
    });
  }

  async close(): Promise<void> {
    // Whoever waits for the end must not lose the process meanwhile.
    this.closing = true;
    this.worker.ref();
    // Native code does not bear being stopped while it frees memory: a thread that does nothing else ends by itself.
    const isIdle = [...this.waiting.values()].every(({ task }) => task === 'dispose');
    if (isIdle && this.failure === undefined) {
      const patience = AbortSignal.timeout(millisecondsToEnd);
      const ended = once(this.worker, 'exit', { signal: patience }).catch(() => undefined);
      this.ask('end', {}).catch(() => undefined);
      await ended;
    }
    await this.worker.terminate();
  }

  private settle(answer: WorkerAnswer): void {
    const waiting = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if (this.waiting.size === 0 && !this.closing) this.worker.unref();
    if (!('error' in answer)) {
      waiting?.resolve(answer.answer);
      return;
    }
    const { code, ...details } = answer.error;
    waiting?.reject(code === undefined ? new Error(details.message) : new KvlrError(code, details));
  }

  private failAll(cause: unknown): void {
    const message = cause instanceof Error ? cause.message : String(cause);
    // The first cause counts: a thread that met an error ends after it.
    this.failure ??= new KvlrError('worker-failed', {
      message: `expected a worker thread to answer, but it stopped: ${message}`,
      hint: 'Run with fewer workers: each holds the model in memory of its own.',
      cause,
    });
    for (const { reject } of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
  }
}
