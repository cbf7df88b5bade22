// Perplexity behind llama.cpp's own quantised caches beside kvlr's simulation of them, on the same windows of text: what `kvlr compare
// --bytes` says of a cache type is what llama.cpp gives.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { windowReader } from '@kvlr/cache';
import { readTextFiles, windowsBySource } from '@kvlr/calibration';
import { openSource, writeGguf } from '@kvlr/checkpoint/node';
import { codedCacheBytes, halfCacheBytes } from '@kvlr/core';
import { comparePerplexities, evaluate } from '@kvlr/evaluation';
import { cacheEngines, resolveCache } from '@kvlr/pipeline';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { openLlamaCppScorer } from './engines/llama-cpp-scorer.mjs';
import { describeMachine } from './lib/describe-machine.mjs';
import { markdownFooter } from './lib/markdown-footer.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/llama-cpp-caches.mjs [--models embedded,CKPT,...] [--caches q8_0,q4_0,...] [--text FILE] [--windows 4] [--length 512]
  [--note TEXT] [--output PATH]
Windows of each source of the text. Bytes are shares of f16 of the first model, perplexity changes those to its f16.`,
  {
    models: ['embedded'],
    caches: ['q8_0', 'q5_1', 'q8_0:q4_0', 'iq4_nl', 'q4_0', 'q4_0:f16'],
    text: referenceTextPaths.validation,
    windows: 4,
    length: 512,
    note: undefined,
    output: undefined,
  },
);

const environment = describeMachine();
await prepareNodeRuntime();
const directory = await mkdtemp(join(tmpdir(), 'kvlr-llama-cpp-'));
// The base of every change comes first.
const names = ['f16', ...options.caches.filter((name) => name !== 'f16')];
const caches = await Promise.all(names.map((name) => resolveCache(name)));
for (const { name, parts } of caches) {
  if (![parts.keys, parts.values].every((codec) => cacheEngines['llama.cpp'].codecs.includes(codec))) {
    throw new Error(`--caches: expected types of llama.cpp's caches, got ${name}`);
  }
}
const documents = await readTextFiles([{ name: options.text, bytes: await readFile(options.text) }]);
const rows = [];
let baseBytes;
try {
  for (const location of options.models) rows.push(...(await measureModel(location)));
} finally {
  await rm(directory, { recursive: true });
}
const report = {
  title: "llama.cpp's caches, and what kvlr says of them",
  rows,
  environment,
  notes: [
    ...(options.note === undefined ? [] : [options.note]),
    `Windows of ${options.length} predictions, ${options.windows} of each source of the text. Weights in F32, llama.cpp on the CPU with flash attention through node-llama-cpp.`,
    'Changes are paired over windows, to the f16 row of the same engine and of the first model. Apart: the perplexity of kvlr over that of llama.cpp.',
  ],
};
await writeResults(options.output, report, toMarkdown);

async function measureModel(location) {
  const source = await openSource(location === 'embedded' ? referenceModelDirectory : location);
  const { shape } = source;
  baseBytes ??= halfCacheBytes(shape, options.length);
  const windows = windowsBySource(documents, await source.tokenizer(), {
    length: options.length + 1,
    windowsPerSource: options.windows,
  });
  const gguf = join(directory, 'model.gguf');
  await writeGguf(gguf, source, source, { overwrite: true });
  const model = await loadModel(source, { backend: 'wasm' });
  const measured = [];
  for (const { name, parts, cache } of caches) {
    const scorer = await openLlamaCppScorer(gguf, { ...parts, contextSize: options.length + 1 });
    const theirs = [];
    for (const { tokenIds } of windows) theirs.push(await scorer.meanLoss(tokenIds));
    await scorer.close();
    const ours = await evaluate({
      model: model.readThrough(windowReader({ shape, cache })),
      modelId: source.id,
      windows,
      cache: { bytesPerToken: 0, bytesPerElement: 0, elementsPerTokenByLayer: [] },
    });
    measured.push({
      model: location,
      heads: shape.layers[0].cache.keySlots,
      width: shape.layers[0].cache.keySlotWidth,
      cache: name,
      bytes: codedCacheBytes(shape, cache, options.length) / baseBytes,
      llamaCpp: { ...ours.windows, negativeLogLikelihoods: theirs },
      kvlr: ours.windows,
    });
    console.error(JSON.stringify(summarise(measured.at(-1))));
  }
  model.dispose();
  await source.close();
  return measured;
}

function summarise({ llamaCpp, kvlr, ...row }) {
  return {
    ...row,
    llamaCpp: perplexityOf(llamaCpp),
    kvlr: perplexityOf(kvlr),
    apart: ratioOf(kvlr, llamaCpp).value - 1,
  };
}

function perplexityOf({ negativeLogLikelihoods: losses }) {
  return Math.exp(losses.reduce((sum, each) => sum + each, 0) / losses.length);
}

/** Perplexity of one over that of the other, paired over windows. */
function ratioOf(one, other) {
  return comparePerplexities(one, other, options.length).perplexityRatio;
}

function toMarkdown({ title, rows: all, environment, notes }) {
  const percent = (value, digits = 2) => `${(100 * value).toFixed(digits)} %`;
  const cell = (scores, base) => {
    const { value, standardError } = ratioOf(scores, base);
    const error = standardError === undefined ? '' : ` ± ${percent(standardError)}`;
    return `${value >= 1 ? '+' : ''}${percent(value - 1)}${error}`;
  };
  const [first] = all;
  return [
    `# ${title}`,
    '',
    '| model | heads | cache | bytes | llama.cpp | its change | kvlr | its change | apart |',
    '| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: |',
    ...all.map((row) => {
      const { model, heads, width, cache, bytes, llamaCpp, kvlr } = row;
      const summary = summarise(row);
      const cells = [
        model,
        `${heads} of ${width}`,
        cache,
        percent(bytes, 1),
        summary.llamaCpp.toFixed(3),
        cell(llamaCpp, first.llamaCpp),
        summary.kvlr.toFixed(3),
        cell(kvlr, first.kvlr),
        percent(summary.apart, 3),
      ];
      return `| ${cells.join(' | ')} |`;
    }),
    ...markdownFooter(environment, notes),
  ].join('\n');
}
