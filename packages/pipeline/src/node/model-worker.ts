import { parentPort } from 'node:worker_threads';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { arraysOf } from '../workers/shared-memory.ts';
import { serveTasks, type WorkerQuestion } from '../workers/tasks.ts';
import { loadCache } from './load-plugins.ts';
import { onnxEngineOfWorker } from './onnx-engine.ts';

/** Entry of a worker thread: `createWorkerPool` starts it. */
const port = parentPort;
if (port) {
  const serve = serveTasks({ engine: onnxEngineOfWorker, loadCache });
  const ready = prepareNodeRuntime();
  port.on('message', async (question: WorkerQuestion) => {
    await ready;
    const answer = await serve(question);
    if (question.task === 'end') return endThread();
    port.postMessage(answer, 'answer' in answer ? arraysOf(answer.answer) : []);
  });
}

/** Sessions are freed one turn of the event loop behind the question that disposes of them: a thread that ends in the midst takes the process down. */
function endThread(): void {
  setImmediate(() => setImmediate(() => process.exit()));
}
