// What a step of training costs the main thread, on Dawn's null backend, which computes nothing: block reconstruction and distillation.
import { readFileSync } from 'node:fs';
import { activeDevice, createRandomModel, percentile, randomTokenIds, withKeyValueHeads } from '@kvlr/benchmark';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { distill, reconstructBlocks } from '@kvlr/recovery';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { describeMachine } from './lib/describe-machine.mjs';
import { markdownFooter } from './lib/markdown-footer.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/training.mjs [--steps 40] [--windows 8] [--held-out 4] [--length 512] [--note TEXT] [--output PATH]
The sizes are those of the embedded model, its 8 KV heads as 2. For Linux: the main thread's time is read from /proc.`,
  { steps: 40, windows: 8, 'held-out': 4, length: 512, note: undefined, output: undefined },
);

const environment = describeMachine();
await prepareNodeRuntime({ dawn: ['backend=null'] });
await selectBackend({ backend: 'webgpu' });
const { shape } = await openCheckpointDirectory(referenceModelDirectory);
const ofOneLayer = { ...shape, numLayers: 1, layers: shape.layers.slice(0, 1) };
const models = (sizes) => ({
  teacher: createRandomModel(sizes),
  student: createRandomModel(withKeyValueHeads(sizes, 2)),
});
const texts = (count, seed) =>
  Array.from({ length: count }, (_, n) => Int32Array.from(randomTokenIds(options.length, shape.vocabSize, seed + n)));
const common = {
  windows: texts(options.windows, 1),
  heldOutWindows: texts(options['held-out'], 1001),
};
const counts = countCalls(activeDevice());
const { steps } = options;
// A look only at the end: what is between the steps is to be seen.
const settings = { steps, evaluateEvery: steps, warmupSteps: 1 };
const rows = [];
for (const recordSteps of [false, true]) {
  const how = recordSteps ? 'recorded' : 'one operation after another';
  rows.push(
    await profile(`block reconstruction of a layer, 4 windows a step, ${how}`, (onEvent) =>
      reconstructBlocks({
        ...{ ...common, ...models(ofOneLayer), onEvent, recordSteps },
        settings: { ...settings, refitOutput: false, windowsPerStep: 4 },
      }),
    ),
    await profile(`distillation of ${shape.numLayers} layers, a piece of 256 a step, ${how}`, (onEvent) =>
      distill({
        ...{ ...common, ...models(shape), onEvent, recordSteps },
        settings: { ...settings, pieceLength: 256, piecesPerStep: 1, checkpointEvery: 0 },
      }),
    ),
  );
}

const report = {
  title: 'Main-thread processor time of a step of training on a device that computes nothing',
  rows,
  environment: { ...environment, backend: "Dawn's null backend" },
  notes: [
    ...(options.note === undefined ? [] : [options.note]),
    `Sizes of the embedded model with 2 KV heads, windows of ${options.length} tokens; ${steps} steps, the first tenth left out: mean time, median calls.`,
    "A driver's own time is not in it.",
  ],
};
await writeResults(options.output, report, toMarkdown);
// Dawn would keep the process.
process.exit(0);

/** What lies between one step and the next: of time the mean, since the clock of a thread goes in ticks, of calls the median. */
async function profile(name, train) {
  const samples = [];
  let before;
  const onEvent = (event) => {
    if (event.type !== 'progress' || event.unit !== 'steps') return;
    const now = { milliseconds: threadTime(), ...counts };
    // The last one looks at the held-out windows.
    if (before && event.completed > 1 + steps / 10 && event.completed < steps) {
      samples.push(Object.fromEntries(Object.keys(now).map((key) => [key, now[key] - before[key]])));
    }
    before = now;
  };
  // What a device that computes nothing gives back may be no number.
  await train(onEvent).catch((error) => {
    if (samples.length === 0) throw error;
  });
  const milliseconds = samples.reduce((sum, sample) => sum + sample.milliseconds, 0) / samples.length;
  const calls = Object.keys(counts).map((call) => {
    const ofSteps = samples.map((sample) => sample[call]);
    return [call, percentile(ofSteps, 0.5)];
  });
  return { name, samples: samples.length, milliseconds, ...Object.fromEntries(calls) };
}

function threadTime() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

/** Counts calls of the device, its queue, its passes and its buffers. */
function countCalls(device) {
  const counts = {};
  const targets = [
    [device, 'createBuffer'],
    [device, 'createBindGroup'],
    [device.queue, 'writeBuffer'],
    [device.queue, 'submit'],
    [GPUCommandEncoder.prototype, 'beginComputePass'],
    [GPUComputePassEncoder.prototype, 'dispatchWorkgroups'],
    [GPUBuffer.prototype, 'mapAsync'],
  ];
  for (const [target, name] of targets) {
    const original = target[name];
    counts[name] = 0;
    target[name] = function (...given) {
      counts[name]++;
      return original.apply(this, given);
    };
  }
  return counts;
}

function toMarkdown({ title, rows, environment, notes }) {
  const { name: _, samples: __, milliseconds: ___, ...calls } = rows[0];
  return [
    `# ${title}`,
    '',
    `| a step | ms | ${Object.keys(calls).join(' | ')} |`,
    `| :-- | ${Object.keys(rows[0]).slice(2).fill('--:').join(' | ')} |`,
    ...rows.map(
      (row) =>
        `| ${row.name} | ${row.milliseconds.toFixed(2)} | ${Object.keys(calls)
          .map((call) => row[call])
          .join(' | ')} |`,
    ),
    ...markdownFooter(environment, notes),
  ].join('\n');
}
