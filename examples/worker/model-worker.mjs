// A model in a Web Worker, so that the page stays responsive. The page starts it with
//   const worker = new Worker(new URL('./model-worker.mjs', import.meta.url), { type: 'module' });
// and sends { type: 'load', source } once, then { type: 'generate', prompt, settings } as often as it likes.
// `source` is a hub id such as 'owner/name', the URL below which a checkpoint lies, or the files of a file input.
import { loadModel } from '@kvlr/runtime';

let model;

const answer = {
  async load({ source, backend, wasmPaths }) {
    const onProgress = (progress) => postMessage({ type: 'progress', ...progress });
    model = await loadModel(source, { backend, wasmPaths, onProgress });
    postMessage({ type: 'ready', backend: model.decoder.backend.backend });
  },
  async generate({ prompt, settings }) {
    for await (const step of model.generate(prompt, settings)) postMessage({ type: 'step', ...step });
  },
};

addEventListener('message', async ({ data }) => {
  try {
    await answer[data.type](data);
  } catch ({ code, message, hint }) {
    postMessage({ type: 'error', code, message, hint });
  }
});
