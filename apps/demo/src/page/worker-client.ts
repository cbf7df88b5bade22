import type { PageMessage, WorkerMessage } from '../messages.ts';

/** The worker. One that cannot start or breaks down is told as a failure like any other, and the next message starts a new one. */
export class WorkerClient {
  readonly #onMessage: (message: WorkerMessage) => void;
  #worker: Worker | undefined;

  constructor(onMessage: (message: WorkerMessage) => void) {
    this.#onMessage = onMessage;
  }

  send(message: PageMessage): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(message);
  }

  #start(): Worker {
    const worker = new Worker(new URL('../worker/demo-worker.ts', import.meta.url), { type: 'module', name: 'kvlr' });
    worker.addEventListener('message', ({ data }: MessageEvent<WorkerMessage>) => this.#onMessage(data));
    worker.addEventListener('error', (event) => {
      worker.terminate();
      this.#worker = undefined;
      const message = event.message || 'The worker that computes did not start.';
      const hint = 'Try again, or load the page again; it needs a browser from 2023 or later.';
      this.#onMessage({ type: 'failed', work: 'begin', failure: { code: 'worker', message, hint } });
    });
    return worker;
  }
}
