// Times the matrices of one decoder step on the wasm backend, for every weight format, beside tfjs's own product.
// Build first (`npx tsup` here and in ../core), then: node bench/matrices.mjs [tokens] [hidden] [intermediate] [vocabulary] [layers]
// Figures are the least CPU time of several runs; the formats alternate, so that a busy machine is busy for all of them.
import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { enableProdMode, matMul, setBackend, tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import {
  gatedFeedForward,
  kernelCounters,
  normProject,
  packMatrix,
  projectAdd,
  projectLogits,
  weightFormats,
} from '../dist/index.js';

// Without arguments: the embedded reference model, one token.
const [tokens = 1, hidden = 256, intermediate = 704, vocabulary = 4096, layers = 6] = process.argv.slice(2).map(Number);
const repetitions = tokens > 8 ? 15 : 150;

const random = (count) => Float32Array.from({ length: count }, () => Math.random() - 0.5);
const norm = () => ({ weight: tensor1d(random(hidden)), epsilon: 1e-5 });

function packedStep(format) {
  const pack = (rows, columns) => packMatrix(random(rows * columns), rows, columns, format);
  const stack = Array.from({ length: layers }, () => ({
    norm: norm(),
    queryKeyValue: pack(3 * hidden, hidden),
    output: pack(hidden, hidden),
    gate: pack(intermediate, hidden),
    up: pack(intermediate, hidden),
    down: pack(hidden, intermediate),
  }));
  const head = pack(vocabulary, hidden);
  const finalNorm = norm();
  return (input) => {
    let x = input;
    for (const { norm, queryKeyValue, output, gate, up, down } of stack) {
      normProject(x, norm, queryKeyValue);
      // In place of attended values: a tensor of their size.
      const attended = projectAdd(x, output, x);
      x = projectAdd(gatedFeedForward(attended, norm, { gate, up, activation: 'silu' }), down, attended);
    }
    return projectLogits(x, finalNorm, head);
  };
}

function stockStep() {
  const sizes = [
    ...Array.from({ length: layers }, () => [
      [hidden, 3 * hidden],
      [hidden, hidden],
      [hidden, intermediate],
      [hidden, intermediate],
      [intermediate, hidden],
    ]).flat(),
    [hidden, vocabulary],
  ];
  const products = sizes.map(([columns, rows]) => [
    tensor2d(random(tokens * columns), [tokens, columns]),
    tensor2d(random(rows * columns), [columns, rows]),
  ]);
  return () => {
    for (const [x, matrix] of products) matMul(x, matrix);
  };
}

enableProdMode();
setWasmPaths(dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm')) + sep);
await setBackend('wasm');
const input = tensor2d(random(tokens * hidden), [tokens, hidden]);
const steps = Object.fromEntries(weightFormats.map((format) => [format, packedStep(format)]));
steps['tfjs matMul, f32, products only'] = stockStep();

const least = {};
const bytes = {};
for (let repetition = 0; repetition < repetitions; repetition++) {
  for (const [name, step] of Object.entries(steps)) {
    kernelCounters.reset();
    const before = process.cpuUsage();
    const start = performance.now();
    tidy(() => void step(input));
    const wall = performance.now() - start;
    const { user, system } = process.cpuUsage(before);
    least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, wall, (user + system) / 1000 || wall);
    bytes[name] = kernelCounters.total().bytesRead;
  }
}
console.log(
  `${tokens} token(s), hidden ${hidden}, intermediate ${intermediate}, vocabulary ${vocabulary}, ${layers} layers, wasm, one thread`,
);
console.table(
  Object.fromEntries(
    Object.entries(least).map(([name, milliseconds]) => [
      name,
      {
        'ms per step': Number(milliseconds.toFixed(2)),
        'MB of weights': bytes[name] ? Number((bytes[name] / 1e6).toFixed(1)) : '',
        'GB/s': bytes[name] ? Number((bytes[name] / milliseconds / 1e6).toFixed(1)) : '',
      },
    ]),
  ),
);
