// Decoding with several engines on the same weights in one run; they take turns within each round.
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measureInRounds, pairRounds, summariseTimes } from '@kvlr/benchmark';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { engineMarkdown } from '@kvlr/report';
import { dawnF16OnNvidia, prepareNodeRuntime } from '@kvlr/runtime/node';
import { engines } from './engines/engine-list.mjs';
import { prepareSubjects } from './engines/prepare-subjects.mjs';
import { describeMachine } from './lib/describe-machine.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';
import { openChromium } from './page/open-chromium.mjs';

const names = Object.keys(engines);
const options = readOptions(
  `node bench/engines.mjs [--engines LIST] [--models embedded,embedded-2] [--context 256] [--tokens 32] [--rounds 5]
  [--chromium /usr/bin/chromium] [--software-gpu] [--f16] [--note TEXT] [--output PATH]
Engines: ${names.join(', ')}. Models: embedded, embedded-N, smollm2-N with N KV heads.
--f16: Dawn shows shader-f16 on NVIDIA, which the engines with f16 need.`,
  {
    engines: names.filter((name) => !/chromium|webgpu/.test(name)),
    models: ['embedded', 'embedded-2'],
    context: 256,
    tokens: 32,
    rounds: 5,
    chromium: '/usr/bin/chromium',
    'software-gpu': false,
    f16: false,
    note: undefined,
    output: undefined,
  },
);
for (const name of options.engines)
  if (!(name in engines)) throw new Error(`--engines: expected ${names.join(', ')}, got ${name}`);

const environment = describeMachine();
await prepareNodeRuntime({ dawn: options.f16 ? [dawnF16OnNvidia] : [] });
const directory = await mkdtemp(join(tmpdir(), 'kvlr-engines-'));
let browser;
try {
  const subjects = await prepareSubjects(options.models, directory);
  if (options.engines.some((name) => engines[name].chromium)) browser = await startChromium(subjects);
  const rows = [];
  for (const subject of subjects) rows.push(...(await measureSubject(subject)));
  const notes = [
    ...(options.note === undefined ? [] : [options.note]),
    'One new token at a time, greedily; the context is random numbers in the cache, for llama.cpp a random prompt that is not timed.',
    'Processor time: all threads of the process, a token, median over rounds; on a busy machine it says more than the clock.',
    'A speed-up is paired within rounds: the median over rounds of the ratio of medians, with the lowest and the highest.',
    ...(options['software-gpu']
      ? ['WebGPU was computed on the CPU (SwiftShader): these times say nothing of a GPU.']
      : []),
  ];
  const versions = {
    ...environment.versions,
    ...(browser && { chromium: browser.version }),
    ...(await peerVersions()),
  };
  const report = {
    title: 'Decoding with several engines on the same weights',
    rounds: options.rounds,
    rows,
    environment: { ...environment, backend: 'by row', versions },
    notes,
  };
  await writeResults(options.output, report, engineMarkdown);
} finally {
  await browser?.close();
  await rm(directory, { recursive: true });
}

async function startChromium(subjects) {
  const folders = Object.fromEntries(subjects.map(({ files, directory: folder }) => [files, folder]));
  if ('embedded' in folders) await cp(referenceModelDirectory, folders.embedded, { recursive: true });
  return openChromium({ folders, executablePath: options.chromium, softwareGpu: options['software-gpu'] });
}

async function measureSubject(subject) {
  const { context, tokens, rounds } = options;
  const rows = [];
  const opened = [];
  for (const name of options.engines) {
    const { title, open, dtypes = 'f32, cache f32' } = engines[name];
    const row = { engine: title, model: subject.name, dtypes, context };
    rows.push(row);
    try {
      console.error(`${subject.name}: ${title}`);
      const decoder = await open(subject, { context, tokens }, browser);
      // An engine may load and fail at its first token.
      await decoder.decode();
      opened.push({ row, decoder });
    } catch (error) {
      row.problem = String(error.message ?? error).split('\n')[0];
    }
  }
  const turns = opened.map(
    ({ decoder }) =>
      () =>
        decoder.decode(),
  );
  const samples = await measureInRounds(turns, {
    rounds,
    onMeasured: (done, total) => console.error(`${done}/${total}`),
  });
  for (const [index, { row, decoder }] of opened.entries()) {
    const timesOf = (subjectIndex) => samples[subjectIndex].map(({ times }) => times);
    row.step = summariseTimes(timesOf(index).flat());
    row.tokensPerSecond = 1000 / row.step.p50;
    const processor = samples[index].flatMap((sample) => sample.processor ?? []);
    if (processor.length > 0) row.processor = summariseTimes(processor);
    if (index > 0) row.speedup = pairRounds(timesOf(0), timesOf(index));
    await decoder.close();
  }
  return rows;
}

async function peerVersions() {
  const { devDependencies } = JSON.parse(await readFile(new URL('package.json', import.meta.url), 'utf8'));
  const peers = ['@huggingface/transformers', 'node-llama-cpp', 'onnxruntime-node', 'onnxruntime-web'];
  return Object.fromEntries(peers.map((name) => [name, devDependencies[name]]));
}
