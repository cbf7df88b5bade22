import { KvlrError } from '@kvlr/core';
import type { Failure, PageMessage, WorkerMessage } from '../protocol/messages.ts';
import { WorkerSession } from './worker-session.ts';

const send = (message: WorkerMessage) => self.postMessage(message);
const session = new WorkerSession(send);
let running = new AbortController();

self.addEventListener('message', ({ data }: MessageEvent<PageMessage>) => {
  if (data.type === 'stop') running.abort();
  else void work(data);
});

async function work(message: Exclude<PageMessage, { type: 'stop' }>): Promise<void> {
  running = new AbortController();
  const { signal } = running;
  try {
    if (message.type === 'compress') await session.compress(message.settings, signal);
    else await session.generate(message, signal);
  } catch (error) {
    if (signal.aborted) send({ type: 'stopped' });
    else send({ type: 'failed', failure: describe(error) });
  }
}

function describe(error: unknown): Failure {
  if (KvlrError.isInstance(error)) return { code: error.code, message: error.message, hint: error.hint };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'unexpected', message, hint: 'Load the page again. If it happens once more, choose WASM.' };
}
