import { parentPort } from 'node:worker_threads';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { serveTasks, type WorkerQuestion } from '../workers/tasks.ts';

/** Entry of a worker thread: `createWorkerPool` starts it. */
const port = parentPort;
if (port) {
  const serve = serveTasks();
  const ready = prepareNodeRuntime();
  port.on('message', async (question: WorkerQuestion) => {
    await ready;
    const answer = await serve(question);
    const moved = 'answer' in answer && answer.answer instanceof Float32Array ? [answer.answer.buffer] : [];
    port.postMessage(answer, moved as ArrayBuffer[]);
  });
}
