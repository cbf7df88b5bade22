import { parentPort } from 'node:worker_threads';
import { loadOnnxModel } from '@kvlr/engine-onnx';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { serveTasks, type WorkerQuestion } from '../workers/tasks.ts';
import { onnxEngine } from './onnx-engine.ts';

/** Entry of a worker thread: `createWorkerPool` starts it. */
const port = parentPort;
if (port) {
  // Windows run side by side on threads like this one: each has one processor core.
  const serve = serveTasks({ ...onnxEngine, load: (source) => loadOnnxModel(source, { threads: 1 }) });
  const ready = prepareNodeRuntime();
  port.on('message', async (question: WorkerQuestion) => {
    await ready;
    const answer = await serve(question);
    const moved = 'answer' in answer && answer.answer instanceof Float32Array ? [answer.answer.buffer] : [];
    port.postMessage(answer, moved as ArrayBuffer[]);
  });
}
