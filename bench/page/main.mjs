// The page that Chromium runs: the same decoders as in Node, called from outside.
import { createRandomModel } from '@kvlr/benchmark';
import { openSource } from '@kvlr/checkpoint';
import { openKvlrDecoder } from '../engines/kvlr-decoder.mjs';
import { openOnnxDecoder } from '../engines/onnx-decoder.mjs';

const decoders = new Map();

globalThis.openDecoder = async (name, { engine, provider, subject, context, tokens }) => {
  const { shape, seed } = subject;
  const common = { shape, context, tokens };
  decoders.set(name, await (engine === 'kvlr' ? openKvlr() : openOnnx()));

  async function openKvlr() {
    const source =
      seed === undefined
        ? await openSource(new URL(`/${subject.files}/`, location.href).href)
        : createRandomModel(shape, seed);
    return openKvlrDecoder(source, { ...common, backend: provider, wasmPaths: '/tfjs/' });
  }

  async function openOnnx() {
    const ort = await import('/ort/ort.webgpu.bundle.min.mjs');
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = '/ort/';
    const sessionOptions = { executionProviders: [provider] };
    const model = `/${subject.files}/model.onnx`;
    return openOnnxDecoder(ort, model, { ...common, sessionOptions, onGpu: provider === 'webgpu' });
  }
};
globalThis.decode = (name) => decoders.get(name).decode();
globalThis.hasGpu = async () => Boolean(await navigator.gpu?.requestAdapter());
