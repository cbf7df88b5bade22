// Perplexity against steps of training on next tokens, from several starts, beside the uncompressed model given the same steps.
import { readFile, writeFile } from 'node:fs/promises';
import { CalibrationText, readTexts, windowsBySource } from '@kvlr/calibration';
import { openSource } from '@kvlr/checkpoint/node';
import { compress, parseRecipe } from '@kvlr/pipeline';
import { onnxEngine } from '@kvlr/pipeline/node';
import { distill } from '@kvlr/recovery';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';
import { trainingStepsSvg } from '@kvlr/report';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { describeMachine } from './lib/describe-machine.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/ablation.mjs [--starts original,mean-pool,svd-a,kvlr] [--keep 50] [--steps 256] [--marks 4] [--lora 0]
  [--rate 10] [--windows 8] [--note TEXT] [--output PATH] [--plot FILE]
  --keep      percent of the KV cache
  --marks     looks at the validation text behind the first
  --lora      rank of adapters; without it whole matrices are trained
  --rate      highest learning rate, in ten-thousandths
  --windows   validation windows of 512 tokens a source, of three sources
  --plot      an SVG file, beside what --output writes`,
  {
    starts: ['original', 'mean-pool', 'svd-a', 'kvlr'],
    ...{ keep: 50, steps: 256, marks: 4, rate: 10, windows: 8 },
    ...{ lora: undefined, note: undefined, output: undefined, plot: undefined },
  },
);

/** What each start is made with; kvlr's is its best closed form: wide heads, output projections refitted. */
const recipes = {
  'mean-pool': { method: 'mean-pool', recovery: { preset: 'none' } },
  'svd-a': { method: 'svd-a', recovery: { preset: 'none' } },
  kvlr: { headWidth: 'auto', recovery: { preset: 'refit' } },
};
const windowLength = 512;
const pieceLength = 256;

await prepareNodeRuntime();
const environment = describeMachine();
const original = await openSource(referenceModelDirectory);
const tokenizer = await original.tokenizer();
const [calibration, validation] = await Promise.all(
  [referenceTextPaths.calibration, referenceTextPaths.validation].map(async (path) =>
    readTexts([{ name: path, text: await readFile(path, 'utf8') }]),
  ),
);
const text = new CalibrationText(calibration, tokenizer);
const trainingCount = Math.ceil((options.steps * pieceLength) / windowLength);
const { training } = text.split({ trainingCount, heldOutCount: 1, length: windowLength });
const heldOutWindows = windowsBySource(validation, tokenizer, {
  length: windowLength,
  windowsPerSource: options.windows,
}).map(({ tokenIds }) => tokenIds);

const rows = [];
for (const start of options.starts) {
  const student = start === 'original' ? original : await compressedBy(start);
  const { points } = await distill({
    student,
    windows: training,
    // They choose nothing here: every reading is shown.
    heldOutWindows,
    native: onnxEngine.training,
    settings: {
      ...{ nextTokenShare: 1, steps: options.steps, pieceLength, patience: options.marks + 1 },
      ...{ learningRate: options.rate / 1e4, warmupSteps: Math.ceil(options.steps / 15) },
      ...{ evaluateEvery: Math.ceil(options.steps / options.marks), checkpointEvery: 0 },
      adapterRank: Number(options.lora ?? 0),
    },
    onEvent: (event) =>
      event.type === 'progress' && console.error(`${start} ${event.completed}/${event.total} ${event.detail}`),
  });
  const readings = points.map(({ step, tokens, heldOutNextToken }) => ({
    ...{ step, tokens, perplexity: Math.exp(heldOutNextToken) },
  }));
  rows.push({ start, readings });
}
await original.close();
const what = options.lora === undefined ? 'the projections of attention' : `adapters of rank ${options.lora}`;
const report = {
  title: `Perplexity by steps of training, ${options.keep} % of the KV cache`,
  rows,
  environment,
  notes: [
    ...(options.note === undefined ? [] : [options.note]),
    `Next tokens of the calibration text, ${pieceLength} a step, ${what}, one order of the text for all; validation text of ${heldOutWindows.length} windows of ${windowLength}. One run each.`,
    `kvlr: RoPE-averaged closed form in wide heads, output projections refitted. "original" is the uncompressed model, trained in the same way.`,
  ],
};
await writeResults(options.output, report, toMarkdown);
if (options.plot !== undefined) await writeFile(options.plot, trainingStepsSvg(report));

async function compressedBy(start) {
  const recipe = parseRecipe({
    ...recipes[start],
    keyValueHeads: { keep: options.keep / 100 },
    evaluation: { windowsPerSource: 0 },
  });
  const texts = { calibration, evaluation: validation };
  const { model } = await compress({ model: original, recipe, texts, runtime: { nativeEngine: onnxEngine } });
  return model;
}

function toMarkdown({ title, rows, notes }) {
  const marks = rows[0].readings;
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [
    `# ${title}\n`,
    line(['start', ...marks.map(({ step }) => `${step} steps`)]),
    line(['---', ...marks.map(() => '---:')]),
    ...rows.map(({ start, readings }) => line([start, ...readings.map(({ perplexity }) => perplexity.toFixed(2))])),
    line(['tokens', ...marks.map(({ tokens }) => tokens.toLocaleString('en-US'))]),
    `\n${notes.map((note) => `- ${note}`).join('\n')}`,
    '',
  ].join('\n');
}
