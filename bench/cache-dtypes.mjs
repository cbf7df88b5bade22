// A token behind caches of one model that differ in how their numbers are kept, taking turns, on WASM: the first dtype is the base of
// speed-ups. Times are the processor's, so that other work on the machine counts little.
import {
  createRandomPacked,
  measureInRounds,
  pairRounds,
  percentile,
  prepareDecode,
  smolMultiHeadShape,
} from '@kvlr/benchmark';
import { loadModel, prepareNodeRuntime } from '@kvlr/runtime/node';
import { describeMachine } from './lib/describe-machine.mjs';
import { markdownFooter } from './lib/markdown-footer.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/cache-dtypes.mjs [--dtypes f16,channel-4] [--contexts 2048,8000] [--layers 30] [--tokens 4]
  [--rounds 5] [--note TEXT] [--output PATH]
The model has SmolLM2-135M's sizes with 8 heads of 72, each with a KV head of its own, and random int8 weights.`,
  {
    dtypes: ['f16', 'channel-4'],
    contexts: [2048, 8000],
    layers: 30,
    tokens: 4,
    rounds: 5,
    note: undefined,
    output: undefined,
  },
);

const environment = describeMachine();
await prepareNodeRuntime();
const { dtypes, contexts, layers, tokens, rounds, note, output } = options;
const shape = { ...smolMultiHeadShape, numLayers: layers, layers: smolMultiHeadShape.layers.slice(0, layers) };
const { source, packed } = createRandomPacked(shape, 'int8');
const model = await loadModel(source, { backend: 'wasm', weights: 'int8', packed, memoryLimit: 2 ** 32 });
const rows = [];
for (const context of contexts) {
  const subjects = [];
  for (const dtype of dtypes) subjects.push(await prepareDecode(model, { context, tokens, batch: 1, dtype, seed: 1 }));
  const times = await measureInRounds(
    subjects.map((subject) => () => processorTime(subject)),
    { rounds },
  );
  dtypes.forEach((dtype, index) => {
    const milliseconds = percentile(times[index].flat(), 0.5);
    const { cacheBytes } = subjects[index];
    rows.push({ context, dtype, milliseconds, cacheBytes, speedup: pairRounds(times[0], times[index]) });
  });
  for (const subject of subjects) subject.dispose();
}
model.dispose();
const report = {
  title: 'A token behind caches of other dtypes',
  rows,
  environment: { ...environment, backend: 'wasm' },
  notes: [
    ...(note === undefined ? [] : [note]),
    `${layers} layers of 576, 8 heads of 72 with a KV head each, int8 weights; ${rounds} rounds of ${tokens} tokens, in which the dtypes take turns.`,
  ],
};
await writeResults(output, report, toMarkdown);

/** Milliseconds of processor time for one of the tokens of a turn; the first new one is not among those that `measure` times. */
async function processorTime(subject) {
  const before = process.cpuUsage();
  await subject.measure();
  const { user, system } = process.cpuUsage(before);
  return [(user + system) / 1000 / (tokens + 1)];
}

function toMarkdown({ title, rows, environment, notes }) {
  return [
    `# ${title}`,
    '',
    '| tokens before | cache | MiB | processor ms a token | speed (lowest to highest round) |',
    '| --: | :-- | --: | --: | --: |',
    ...rows.map(
      ({ context, dtype, milliseconds, cacheBytes, speedup: { median, lowest, highest } }) =>
        `| ${context} | ${dtype} | ${(cacheBytes / 2 ** 20).toFixed(1)} | ${milliseconds.toFixed(1)} | ${median.toFixed(2)}x (${lowest.toFixed(2)}x to ${highest.toFixed(2)}x) |`,
    ),
    ...markdownFooter(environment, notes),
  ].join('\n');
}
