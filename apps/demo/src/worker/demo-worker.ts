import '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import plainUrl from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import type { PageMessage, WorkerMessage } from '../messages.ts';
import { describeFailure } from './describe-failure.ts';
import { WorkerSession } from './session.ts';

/** URL of the folder with the three .wasm files of tfjs, which takes the one that the browser can run. */
const wasmFolder = new URL('.', new URL(plainUrl, self.location.href)).href;

const send = (message: WorkerMessage) => self.postMessage(message);
const session = new WorkerSession(send, wasmFolder);
let running = new AbortController();
let last = Promise.resolve();

self.addEventListener('message', ({ data }: MessageEvent<PageMessage>) => {
  running.abort();
  if (data.type === 'stop') return;
  const controller = new AbortController();
  running = controller;
  // One after the other: what was under way ends first, and what has been overtaken meanwhile does not begin.
  last = last.then(() => work(data.type, () => perform(data, controller.signal), controller.signal));
});

function perform(message: Exclude<PageMessage, { type: 'stop' }>, signal: AbortSignal): Promise<void> {
  switch (message.type) {
    case 'write':
      return session.write(message, signal);
    case 'compress':
      return session.compress(message.settings, signal);
    case 'open':
      return session.open(message);
    case 'close-own':
      return session.closeOwn();
    case 'save':
      return session.save(message, signal);
  }
}

async function work(name: string, perform: () => Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    if (signal.aborted) return send({ type: 'stopped', work: name });
    await perform();
    send({ type: 'done', work: name });
  } catch (error) {
    if (signal.aborted) send({ type: 'stopped', work: name });
    else send({ type: 'failed', work: name, failure: describeFailure(error) });
  }
}
