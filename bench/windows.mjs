// Windows of text through whole models, as calibration and evaluation run them: native code beside TensorFlow.js on WASM.
import { collectStatistics } from '@kvlr/calibration';
import { openSource } from '@kvlr/checkpoint/node';
import { loadOnnxModel } from '@kvlr/engine-onnx';
import { createWorkerPool } from '@kvlr/pipeline/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { processorTime } from './engines/processor-time.mjs';
import { describeMachine } from './lib/describe-machine.mjs';
import { markdownFooter } from './lib/markdown-footer.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/windows.mjs [--models embedded,CKPT,...] [--tokens 512] [--threads 1,2] [--rounds 5] [--note TEXT] [--output PATH]`,
  { models: ['embedded'], tokens: 512, threads: [1, 2], rounds: 5, note: undefined, output: undefined },
);

const engines = ['tfjs', 'onnx'];
/** One thread runs in this one; more are the threads of a pool, each with one window at a time, as the command line has it. */
const environment = describeMachine();
await prepareNodeRuntime();
const rows = [];
for (const location of options.models) {
  const source = await openSource(location === 'embedded' ? referenceModelDirectory : location);
  for (const threads of options.threads) rows.push(...(await measureModel(location, source, threads)));
  await source.close();
}
const report = {
  title: 'Windows in native code and on WASM',
  rows,
  environment,
  notes: [
    ...(options.note === undefined ? [] : [options.note]),
    `Windows of ${options.tokens} tokens, float32, as many at once as threads; medians over ${options.rounds} rounds, in which the engines take turns. Ratios are of one round, with the lowest and the highest.`,
    'Processor time is that of all threads of the process: it holds on a busy machine. Statistics are those of calibration, their moments in Float64 included.',
  ],
};
await writeResults(options.output, report, toMarkdown);

async function measureModel(location, source, threads) {
  const pool = threads > 1 ? createWorkerPool(threads) : undefined;
  const { vocabSize } = source.shape;
  const windows = Array.from({ length: threads }, (_, window) => randomIds(options.tokens, vocabSize, window + 1));
  const provenance = { modelId: source.id, textHash: 'random', seed: 0 };
  const loaded = {};
  for (const engine of engines) loaded[engine] = await load(engine, source, pool);
  const statistics = (model, window) =>
    model.collectStatistics?.({ windows: [window], provenance }) ??
    collectStatistics({ activations: model, windows: [window], provenance });
  const works = { logits: (model, window) => model.logits(window), statistics };
  const measured = [];
  for (const [work, run] of Object.entries(works)) {
    const runOn = (engine) => Promise.all(windows.map((window) => run(loaded[engine], window)));
    for (const engine of engines) await runOn(engine);
    const rounds = [];
    for (let round = 0; round < options.rounds; round++) {
      const turns = round % 2 === 0 ? engines : engines.toReversed();
      const times = {};
      for (const engine of turns) times[engine] = await time(() => runOn(engine), threads);
      rounds.push(times);
    }
    measured.push({ model: location, threads, work, ...summarise(rounds) });
    console.error(JSON.stringify(measured.at(-1)));
  }
  for (const model of Object.values(loaded)) model.dispose();
  await pool?.close();
  return measured;
}

function load(engine, source, pool) {
  if (pool) return pool.load(source, { backend: 'wasm', native: engine === 'onnx' });
  return engine === 'onnx' ? loadOnnxModel(source, { threads: 1 }) : loadModel(source, { backend: 'wasm' });
}

/** Milliseconds a window. */
async function time(work, windows) {
  const processor = processorTime();
  const started = performance.now();
  await work();
  return { wall: (performance.now() - started) / windows, processor: processor.sinceThen(windows) };
}

function summarise(rounds) {
  const summary = {};
  for (const kind of ['wall', 'processor']) {
    const ratios = rounds.map((times) => times.tfjs[kind] / times.onnx[kind]).sort((a, b) => a - b);
    summary[kind] = {
      ...Object.fromEntries(engines.map((engine) => [engine, median(rounds.map((times) => times[engine][kind]))])),
      ratio: median(ratios),
      lowest: ratios[0],
      highest: ratios.at(-1),
    };
  }
  return summary;
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** Ids by a linear congruence: every run has the same. */
function randomIds(count, vocabSize, seed) {
  let state = seed;
  return Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % vocabSize;
  });
}

function toMarkdown({ title, rows: measured, environment, notes }) {
  const ratio = ({ ratio: middle, lowest, highest }) =>
    `${middle.toFixed(1)}x (${lowest.toFixed(1)} to ${highest.toFixed(1)})`;
  return [
    `# ${title}`,
    '',
    '| model | threads | work | tfjs-wasm, ms a window | onnx | faster | tfjs-wasm, processor ms | onnx | less |',
    '| :-- | --: | :-- | --: | --: | --: | --: | --: | --: |',
    ...measured.map(({ model, threads, work, wall, processor }) => {
      const cells = [wall, processor].flatMap((kind) => [kind.tfjs.toFixed(0), kind.onnx.toFixed(0), ratio(kind)]);
      return `| ${[model, threads, work, ...cells].join(' | ')} |`;
    }),
    ...markdownFooter(environment, notes),
  ].join('\n');
}
