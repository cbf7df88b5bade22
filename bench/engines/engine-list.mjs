import { dirname, join } from 'node:path';
import { openKvlrDecoder } from './kvlr-decoder.mjs';
import { openLlamaCppDecoder } from './llama-cpp-decoder.mjs';
import { openOnnxDecoder } from './onnx-decoder.mjs';
import { openOnnxOnDawn } from './onnx-on-dawn.mjs';
import { openTransformersDecoder } from './transformers-decoder.mjs';

async function onnxOnWasm(subject, settings) {
  const ort = await import('onnxruntime-web');
  ort.env.wasm.numThreads = 1;
  const { readFile } = await import('node:fs/promises');
  const sessionOptions = { executionProviders: ['wasm'] };
  return openOnnxDecoder(ort, await readFile(join(subject.directory, 'model.onnx')), {
    ...settings,
    shape: subject.shape,
    sessionOptions,
  });
}

async function onnxOnCpu(subject, settings, sessionOptions) {
  const ort = await import('onnxruntime-node');
  return openOnnxDecoder(ort, join(subject.directory, 'model.onnx'), {
    ...settings,
    shape: subject.shape,
    sessionOptions,
  });
}

async function transformersOnCpu({ directory, files, shape }, settings) {
  return openTransformersDecoder(await import('@huggingface/transformers'), {
    ...settings,
    ...{ localModelPath: dirname(directory), name: files, shape, device: 'cpu' },
    sessionOptions: { intraOpNumThreads: 1 },
  });
}

async function llamaCpp(subject, settings, threads) {
  if (subject.checkpoint === undefined) throw new Error('GGUF needs a tokenizer');
  return openLlamaCppDecoder(join(subject.directory, 'model.gguf'), {
    ...settings,
    threads,
    vocabSize: subject.shape.vocabSize,
  });
}

const inChromium = (engine, provider) => (subject, settings, browser) => {
  const { files, shape, seed } = subject;
  return browser.openDecoder(`${engine} ${provider} ${files}`, {
    engine,
    provider,
    subject: { files, shape, seed },
    ...settings,
  });
};

/** Engines by the name that --engines takes: what they are, and how a subject is opened. */
export const engines = {
  'kvlr-wasm': {
    title: 'kvlr, wasm, Node, 1 thread',
    open: (subject, settings) => openKvlrDecoder(subject.source, { ...settings, backend: 'wasm' }),
  },
  'kvlr-webgpu': {
    title: 'kvlr, webgpu, Node',
    open: (subject, settings) => openKvlrDecoder(subject.source, { ...settings, backend: 'webgpu' }),
  },
  'kvlr-webgpu-f16': {
    title: 'kvlr, webgpu, Node',
    dtypes: 'f16, cache f16',
    open: (subject, settings) => openKvlrDecoder(subject.source, { ...settings, backend: 'webgpu', dtype: 'f16' }),
  },
  'ort-webgpu': {
    title: 'onnxruntime-web, webgpu, Node',
    open: (subject, settings) => openOnnxOnDawn(subject.source, { ...settings, dtype: 'F32' }),
  },
  'ort-webgpu-f16': {
    title: 'onnxruntime-web, webgpu, Node',
    dtypes: 'f16, cache f16',
    open: (subject, settings) => openOnnxOnDawn(subject.source, { ...settings, dtype: 'F16' }),
  },
  'ort-web-wasm': { title: 'onnxruntime-web, wasm, Node, 1 thread', open: onnxOnWasm },
  'ort-node-1': {
    title: 'onnxruntime-node, cpu, 1 thread',
    open: (subject, settings) => onnxOnCpu(subject, settings, { intraOpNumThreads: 1 }),
  },
  'ort-node': {
    title: 'onnxruntime-node, cpu, default threads',
    open: (subject, settings) => onnxOnCpu(subject, settings, {}),
  },
  'transformers-node-1': {
    title: 'transformers.js, onnxruntime-node, cpu, 1 thread',
    open: transformersOnCpu,
  },
  'llama-cpp-1': { title: 'llama.cpp, cpu, 1 thread', open: (subject, settings) => llamaCpp(subject, settings, 1) },
  'llama-cpp': { title: 'llama.cpp, cpu, default threads', open: (subject, settings) => llamaCpp(subject, settings) },
  'kvlr-chromium-wasm': { title: 'kvlr, wasm, Chromium, 1 thread', chromium: true, open: inChromium('kvlr', 'wasm') },
  'ort-chromium-wasm': {
    title: 'onnxruntime-web, wasm, Chromium, 1 thread',
    chromium: true,
    open: inChromium('onnx', 'wasm'),
  },
  'transformers-chromium-wasm': {
    title: 'transformers.js, wasm, Chromium, 1 thread',
    chromium: true,
    open: inChromium('transformers', 'wasm'),
  },
  'kvlr-chromium-webgpu': { title: 'kvlr, webgpu, Chromium', chromium: true, open: inChromium('kvlr', 'webgpu') },
  'ort-chromium-webgpu': {
    title: 'onnxruntime-web, webgpu, Chromium',
    chromium: true,
    open: inChromium('onnx', 'webgpu'),
  },
  'transformers-chromium-webgpu': {
    title: 'transformers.js, webgpu, Chromium',
    chromium: true,
    open: inChromium('transformers', 'webgpu'),
  },
};
