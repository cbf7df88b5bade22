// All that is to be known of a GPU in one run of at most ten minutes: it starts with what a dispatch costs.
import { readFileSync } from 'node:fs';
import {
  activeDevice,
  createRandomModel,
  createRandomPacked,
  decodeBytes,
  llama1bShape,
  llama7bShape,
  measureHostTime,
  smolMultiHeadShape,
  smolShape,
  timeAttention,
  timeCopy,
  timeDispatchChain,
  timeProduct,
  timeRecordedDecode,
  withKeyValueHeads,
} from '@kvlr/benchmark';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel, selectBackend } from '@kvlr/runtime';
import { dawnExactTimestamps, dawnF16OnNvidia, prepareNodeRuntime } from '@kvlr/runtime/node';
import { gpuMarkdown } from './gpu/gpu-markdown.mjs';
import { peerRows } from './gpu/peer-rows.mjs';
import { trainingRows } from './gpu/training-rows.mjs';
import { describeMachine } from './lib/describe-machine.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/gpu.mjs [--seconds 540] [--parts chain,copy,products,attention,host,small,peer,training,large] [--memory-gb 60]
  [--once] [--smoke] [--kernels] [--f16] [--dawn SETTINGS] [--note TEXT] [--output PATH]
--smoke: tiny sizes, to try the script on a software adapter. --f16: Dawn shows shader-f16 on NVIDIA, which the peer's f16 rows need.
--once: rows of KV heads from the most to the fewest alone, not back.
--kernels: under every row of decoding a dispatch of each kind as well.
--dawn: further settings of Dawn, with commas between.
--memory-gb: of the device; weights and caches that take more are left out.
What does not fit into the seconds is left out and said to be. The results are written after every part.`,
  {
    seconds: 540,
    parts: ['chain', 'copy', 'products', 'attention', 'host', 'small', 'peer', 'training', 'large'],
    'memory-gb': 60,
    once: false,
    smoke: false,
    kernels: false,
    f16: false,
    dawn: [],
    note: undefined,
    output: undefined,
  },
);

const { smoke } = options;
const started = performance.now();
const environment = describeMachine();
await prepareNodeRuntime({ dawn: [dawnExactTimestamps, ...(options.f16 ? [dawnF16OnNvidia] : []), ...options.dawn] });
const choice = await selectBackend({ backend: 'webgpu' });
const report = {
  title: 'Decoding on a GPU',
  rows: [],
  environment: { ...environment, backend: `webgpu (${choice.reason})` },
  notes: [
    ...(options.note === undefined ? [] : [options.note]),
    'Times in milliseconds, medians: on the device by timestamps around a pass, and by the clock. Weights and caches hold pseudorandom bits.',
    `Rows of KV heads are run from the most to the fewest${options.once ? '.' : ' and back; both passes are given.'}`,
    ...(choice.adapter?.software ? [`${choice.adapter.name} computes on the CPU: times are not those of a GPU.`] : []),
  ],
};

const gibibyte = 2 ** 30;
let copyBytesPerSecond;

const parts = {
  async chain() {
    for (const dispatches of smoke ? [20] : [100, 1000]) {
      await row(`${dispatches} dependent dispatches, each`, () => timeDispatchChain(dispatches, 5));
    }
  },

  async copy() {
    await row('copying', async () => {
      const { byShader, byCommand } = await timeCopy(smoke ? 2 ** 22 : gibibyte, 3);
      copyBytesPerSecond = Math.max(byShader, byCommand);
      return { bytesPerSecond: copyBytesPerSecond, byCommand };
    });
  },

  /** Products of decoding at Llama 2 7B sizes, and of the head of its output projection's shape; matrices as attention's caches. */
  async products() {
    const shapes = smoke
      ? [[64, 32, false]]
      : [
          [4096, 4096, false],
          [12288, 4096, false],
          [22016, 4096, true],
          [4096, 11008, false],
        ];
    for (const format of smoke ? ['int4'] : ['int4', 'int8', 'f16']) {
      for (const tokens of smoke ? [2] : [1, 8, 32]) {
        for (const [rows, columns, gated] of shapes) {
          await row(`product: ${gated ? 'gated ' : ''}${rows} x ${columns}, ${format}, ${tokens} tokens`, () =>
            timedProduct({ format, rows, columns, tokens, gated }),
          );
        }
      }
    }
  },

  /** A layer's attention, by sizes, heads and contexts; enough caches that none stays in the device's cache memory. */
  async attention() {
    const sizes = smoke
      ? [
          {
            numAttentionHeads: 4,
            headDim: 8,
            keyValueHeads: [2, 1],
            dtypes: ['f32', 'int8'],
            contexts: [100],
            batch: 1,
          },
        ]
      : [
          {
            numAttentionHeads: 9,
            headDim: 64,
            keyValueHeads: [9, 3],
            dtypes: ['f32', 'f16', 'int8'],
            contexts: [2048, 8192, 32768],
            batch: 1,
          },
          {
            numAttentionHeads: 32,
            headDim: 128,
            keyValueHeads: [32, 8],
            dtypes: ['f16', 'int8', 'int4'],
            contexts: [2048, 32768],
            batch: 1,
          },
        ];
    for (const { keyValueHeads, dtypes, contexts, ...size } of sizes) {
      for (const dtype of dtypes) {
        for (const context of contexts) {
          for (const numKeyValueHeads of thereAndBack(keyValueHeads)) {
            const name = `attention: ${size.numAttentionHeads} heads of ${size.headDim} over ${numKeyValueHeads}, ${dtype}, ${context} tokens`;
            await row(name, async () => {
              const caches = smoke ? 2 : context > 8192 ? 4 : 16;
              const times = await timeAttention({ ...size, numKeyValueHeads, dtype, context, caches, rounds: 5 });
              const bytesPerSecond = (1000 * times.bytesRead) / (times.device ?? times.wall);
              // Copying reads and writes.
              return {
                ...times,
                bytesPerSecond,
                ...(copyBytesPerSecond && { shareOfCopy: bytesPerSecond / copyBytesPerSecond }),
              };
            });
          }
        }
      }
    }
  },

  /** The host's own time, here with a driver: everything is awaited, so that its waiting is not counted. */
  async host() {
    const threadTime = () =>
      Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    await row("main thread's time of a token, 30 layers of small width", async () => {
      const sizes = smoke
        ? { layers: 1, capacity: 64, tokens: 4, rounds: 1 }
        : { layers: 30, capacity: 2048, tokens: 64, rounds: 3 };
      const { recorded, stepByStep } = await measureHostTime({ ...sizes, tokensPerReadback: 4, threadTime });
      return { recorded: recorded.milliseconds, stepByStep: stepByStep.milliseconds, dispatches: recorded.dispatches };
    });
  },

  async small() {
    const shapes = smoke
      ? [['tiny', tiny, [2]]]
      : [
          ['SmolLM2-135M', smolShape, [3]],
          ['SmolLM2-135M sizes, multi-head', smolMultiHeadShape, [8, 2]],
        ];
    const formats = smoke
      ? [['int4', 'int8']]
      : [
          ['f32', 'f32'],
          ['f16', 'f16'],
          ['int8', 'int8'],
          ['int4', 'int8'],
        ];
    for (const [name, shape, heads] of shapes) {
      for (const [weights, dtype] of formats) {
        const cases = (smoke ? [40] : [2048, 8000]).map((context) => ({ dtype, context, batch: 1 }));
        await decodeRows(name, shape, heads, weights, cases);
      }
    }
  },

  /** onnxruntime-web on the same Dawn, taking turns with kvlr: prompts, and tokens one by one. */
  async peer() {
    const shape = smoke ? tiny : withKeyValueHeads(smolShape, 3);
    for (const dtype of ['f32', 'f16']) {
      for (const context of smoke ? [20] : [2048, 8000]) {
        const label = `${smoke ? 'tiny' : 'SmolLM2-135M'} sizes, ${dtype}`;
        if (isLate(`${label}, ${context} tokens, beside onnxruntime-web`)) continue;
        const settings = { context, ...(smoke ? { tokens: 2, rounds: 1 } : { tokens: 16, rounds: 3 }) };
        report.rows.push(...(await peerRows(label, createRandomModel(shape), dtype, settings)));
        await writeResults(options.output, report, gpuMarkdown);
      }
    }
  },

  /** Training at the sizes of the embedded model, and windows as evaluation runs them. */
  async training() {
    const { shape } = smoke ? { shape: tiny } : await openCheckpointDirectory(referenceModelDirectory);
    const sizes = smoke ? { length: 16, windows: 4, steps: 4 } : { length: 512, windows: 16, steps: 40 };
    for (const [name, measure] of Object.entries(trainingRows(shape, sizes))) await row(name, measure);
  },

  /** What a quarter of the heads gives long contexts of a batch comes first. */
  async large() {
    if (smoke) return decodeRows('tiny', tiny, [2, 1], 'int8', [{ dtype: 'int4', context: 40, batch: 3 }]);
    const casesOf = (dtype, batches) =>
      batches.flatMap((batch) => [32768, 2048, 8192].map((context) => ({ dtype, context, batch })));
    const long = (dtype, batch) => ({ dtype, context: 32768, batch });
    // Of an int8 cache with all heads one binding holds seven sequences.
    await decodeRows('Llama 2 7B sizes', llama7bShape, [32, 8], 'int4', [long('int8', 7), long('int4', 8)]);
    await decodeRows('Llama 3.2 1B sizes', llama1bShape, [8, 2], 'int4', [long('int8', 8)]);
    const others = [...casesOf('int4', [8, 1, 32]).slice(1), ...casesOf('int8', [1])];
    await decodeRows('Llama 2 7B sizes', llama7bShape, [32, 8], 'int4', others);
    await decodeRows('Llama 3.2 1B sizes', llama1bShape, [8, 2], 'int4', casesOf('int8', [8, 1, 32]).slice(1));
    await decodeRows('Llama 2 7B sizes', llama7bShape, [32, 8], 'int8', casesOf('f16', [1]));
  },
};

async function timedProduct(sizes) {
  const { bytesRead, ...times } = await timeProduct({ ...sizes, leastBytes: smoke ? 1 : 2 ** 28, rounds: 5 });
  return { ...times, bytesPerSecond: (1000 * bytesRead) / (times.device ?? times.wall) };
}

const tiny = withKeyValueHeads(
  {
    ...llama7bShape,
    ...{ numLayers: 1, hiddenSize: 32, vocabSize: 64, numAttentionHeads: 2, headDim: 8 },
    embedding: { ...llama7bShape.embedding, width: 32 },
    attention: { ...llama7bShape.attention, scoreScale: 1 / Math.sqrt(8) },
    feedForward: { ...llama7bShape.feedForward, intermediateSize: 64 },
    layers: [{ ...llama7bShape.layers[0], positions: { ...llama7bShape.layers[0].positions, rotaryDim: 8 } }],
  },
  2,
);

/** Recorded decoding of one size, a model for each number of KV heads, there and back unless `--once` is given. */
async function decodeRows(name, shape, heads, weights, cases) {
  for (const numKeyValueHeads of thereAndBack(heads)) {
    const label = `${name}, ${numKeyValueHeads} KV heads, weights ${weights}`;
    if (isLate(label)) continue;
    try {
      const { source, packed } = createRandomPacked(withKeyValueHeads(shape, numKeyValueHeads), weights);
      const model = await loadModel(source, { backend: 'webgpu', weights, packed });
      for (const { dtype, context, batch } of cases) {
        const shapeHere = withKeyValueHeads(shape, numKeyValueHeads);
        // What a step reads is all there is, but for the table of a head of its own.
        const bytes = decodeBytes(shapeHere, { weights, cache: dtype, context, batch });
        const kernelRows = [];
        await row(`${label}, cache ${dtype}: ${context} tokens, batch ${batch}`, async () => {
          if (bytes > 1e9 * options['memory-gb']) throw new Error(`${(bytes / 1e9).toFixed(0)} GB are too much`);
          const settings = {
            context,
            batch,
            dtype,
            lotTokens: 4,
            lots: smoke ? 2 : 8,
            kernelRounds: options.kernels ? 3 : 0,
          };
          const { kernels = [], ...times } = await timeRecordedDecode(model, settings);
          for (const { kind, dispatches, ...each } of kernels) {
            kernelRows.push({ name: `- ${kind}`, ...each, dispatchesPerStep: dispatches });
          }
          return { ...times, tokensPerSecond: (1000 * batch) / times.wall };
        });
        report.rows.push(...kernelRows);
      }
      model.dispose();
    } catch (error) {
      report.rows.push({ name: label, problem: firstLine(error) });
    }
  }
}

function thereAndBack(list) {
  return list.length > 1 && !options.once ? [...list, ...[...list].reverse()] : list;
}

async function row(name, measure) {
  if (isLate(name)) return;
  console.error(name);
  const device = activeDevice();
  device.pushErrorScope('validation');
  device.pushErrorScope('out-of-memory');
  const [outcome] = await Promise.allSettled([measure()]);
  const problems = [await device.popErrorScope(), await device.popErrorScope()].filter(Boolean);
  try {
    if (problems.length > 0) throw problems[0];
    if (outcome.status === 'rejected') throw outcome.reason;
    report.rows.push({ name, ...outcome.value });
  } catch (error) {
    report.rows.push({ name, problem: firstLine(error) });
  }
}

function isLate(name) {
  if (performance.now() - started < 1000 * options.seconds) return false;
  report.rows.push({ name, problem: 'no time was left' });
  return true;
}

function firstLine(error) {
  return String(error.message ?? error).split('\n')[0];
}

for (const part of options.parts) {
  if (!(part in parts)) throw new Error(`--parts: expected ${Object.keys(parts).join(', ')}, got ${part}`);
  await parts[part]();
  await writeResults(options.output, report, gpuMarkdown);
}
// Dawn would keep the process.
process.exit(0);
