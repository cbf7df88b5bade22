import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { KvlrError } from '@kvlr/core';
import type { WorkerAnswer, WorkerQuestion, WorkerTaskName, WorkerTasks } from '../../workers/messages.ts';

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

/** One thread that runs models. Questions are answered in the order in which they are asked. */
export class ModelWorkerThread {
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

  ask<Name extends WorkerTaskName>(task: Name, ask: WorkerTasks[Name]['ask']): Promise<WorkerTasks[Name]['answer']> {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      this.worker.ref();
      this.worker.postMessage({ id, task, ask } as WorkerQuestion);
    });
  }

  async close(): Promise<void> {
    // Whoever waits for the end must not lose the process meanwhile.
    this.closing = true;
    this.worker.ref();
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
      message: `createWorkerPool: expected a worker thread to answer, but it stopped: ${message}.`,
      hint: 'Run with fewer workers: each holds the model in memory of its own.',
      cause,
    });
    for (const { reject } of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
  }
}
