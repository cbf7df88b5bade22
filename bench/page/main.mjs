// The page that Chromium runs: the same decoders as in Node, called from outside.
import { createRandomModel } from '@kvlr/benchmark';
import { openSource } from '@kvlr/checkpoint';
import { openKvlrDecoder } from '../engines/kvlr-decoder.mjs';
import { openOnnxDecoder } from '../engines/onnx-decoder.mjs';
import { openTransformersDecoder } from '../engines/transformers-decoder.mjs';

const decoders = new Map();

globalThis.openDecoder = async (name, { engine, provider, subject, context, tokens }) => {
  const { shape, seed } = subject;
  const common = { shape, context, tokens };
  const open = { kvlr: openKvlr, onnx: openOnnx, transformers: openTransformers };
  decoders.set(name, await open[engine]());

  async function openKvlr() {
    const source =
      seed === undefined
        ? await openSource(new URL(`/${subject.files}/`, location.href).href)
        : createRandomModel(shape, seed);
    return openKvlrDecoder(source, { ...common, backend: provider, wasmPaths: '/tfjs/' });
  }

  async function openOnnx() {
    const ort = await importRuntime();
    const sessionOptions = { executionProviders: [provider] };
    const model = `/${subject.files}/model.onnx`;
    return openOnnxDecoder(ort, model, { ...common, sessionOptions, onGpu: provider === 'webgpu' });
  }

  async function openTransformers() {
    const transformers = await import('@huggingface/transformers');
    await importRuntime();
    return openTransformersDecoder(transformers, {
      ...common,
      ...{ localModelPath: '/', name: subject.files, device: provider },
    });
  }
};

/** ONNX Runtime from this server, on one thread. transformers.js imports the same module. */
async function importRuntime() {
  const ort = await import('/ort/ort.webgpu.bundle.min.mjs');
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = '/ort/';
  return ort;
}

globalThis.decode = (name) => decoders.get(name).decode();
globalThis.hasGpu = async () => Boolean(await navigator.gpu?.requestAdapter());
