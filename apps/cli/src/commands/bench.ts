import { dirname, extname, resolve } from 'node:path';
import {
  type BenchmarkSubject,
  benchmarkDecoders,
  createRandomModel,
  smolMultiHeadShape,
  smolShape,
  withKeyValueHeads,
} from '@kvlr/benchmark';
import {
  claimPlace,
  fillFile,
  jsonMark,
  markdownMark,
  type PlaceClaim,
  replacePath,
  requireWritable,
} from '@kvlr/checkpoint/node';
import { adaptedDtypes, cacheDtypes, KvlrError, type ModelSource } from '@kvlr/core';
import { type BenchmarkReport, benchmarkMarkdown, formatRatio } from '@kvlr/report';
import { benchmarkTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { type Command, Option } from 'commander';
import { withModel } from '../inputs/models.ts';
import { describeMachine } from '../machine.ts';
import {
  addBackendOption,
  addPackingOptions,
  addSeedOption,
  type BackendChoice,
  modelArgument,
  modelArgumentHelp,
  type PackingOptions,
} from '../options/options.ts';
import { parseBytes, parseCount, parseCounts, parseShares } from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface BenchOptions extends PackingOptions {
  against?: string;
  shape?: 'smollm2-135m' | 'smollm2-135m-mha';
  shares: number[];
  contexts?: number[];
  prompt?: number;
  batch: number[];
  tokens: number;
  rounds: number;
  memory?: number;
  largestBatch?: boolean;
  backend: BackendChoice;
  seed?: number;
  note?: string;
  output?: string[];
  overwrite?: boolean;
}

const afterHelp = `
The model and each other one are loaded together and take turns; a speed-up is paired within rounds and given with the lowest and
the highest round. Without --against the others are random weights of the same shape with 1/2, 1/4 and 1/8 of the KV heads (--shares): the
time does not depend on the weights. Caches are filled with random entries, so that a long context needs no long prompt. Bytes
and dispatches are counted by the kernels; the largest batch for --memory is computed, and timed with --largest-batch. On WebGPU
the main thread's time of a step stands beside the device's.

Examples:
  kvlr bench                                              the embedded model
  kvlr bench ./model --against ./small --contexts 512,2048 -o speed.json speed.md
  kvlr bench --shape smollm2-135m-mha --weights int8 --cache-dtype f16 --contexts 2048,8000 --tokens 4 --rounds 3
  kvlr bench ./model --backend webgpu --batch 1,4,16 --memory 4GB --largest-batch`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option(
      '--against <ckpt>',
      'a compressed checkpoint to time beside it (default: random weights with fewer KV heads)',
    )
    .addOption(
      new Option('--shape <name>', 'random weights of this size in place of CKPT')
        .choices(['smollm2-135m', 'smollm2-135m-mha'])
        .conflicts('against'),
    )
    .addOption(
      new Option('--shares <list>', 'shares of the KV heads that random weights are to have')
        .argParser(parseShares)
        .default([1 / 2, 1 / 4, 1 / 8], '1/2,1/4,1/8'),
    )
    .option(
      '--contexts <list>',
      'tokens in the cache before the timed ones (default: 512,2048, as far as positions go)',
      parseCounts,
    )
    .option(
      '--prompt <n>',
      'tokens of the prompt whose prefill is timed (default: 256, or what positions allow)',
      parseCount,
    )
    .addOption(new Option('--batch <list>', 'sequences side by side').argParser(parseCounts).default([1], '1'))
    .option('-n, --tokens <n>', 'timed tokens a round', parseCount, 16)
    .option('--rounds <n>', 'turns of each model', parseCount, 5)
    .option('--memory <size>', 'compute the largest batch that fits, for example 4GB', parseBytes)
    .option('--largest-batch', 'time each model at its largest batch for --memory, too')
    .option('--note <text>', 'a remark for the report, such as what else the machine did')
    .option('-o, --output <files...>', 'write the report, as .json or .md by their names')
    .option('--overwrite', 'replace earlier reports at these places');
  addSeedOption(
    addBackendOption(addPackingOptions(command, [...cacheDtypes, ...adaptedDtypes])),
    'seed of tokens, caches and random weights (default: 0)',
  )
    .addHelpText('after', afterHelp)
    .action(async (ckpt: string | undefined, options: BenchOptions) => {
      checkArguments(ckpt, options);
      const { output = [] } = options;
      await withReports(options, async () => {
        const report = await benchmark(ckpt, options, context);
        context.print(`\n${benchmarkTerminal(report, context.terminal.styles)}`);
        context.printJson(report);
        return report;
      });
      if (output.length > 0) context.print(`\nReport       ${output.join(', ')}`);
    });
}

function checkArguments(path: string | undefined, { shape, output, memory, largestBatch }: BenchOptions): void {
  if (largestBatch && memory === undefined) {
    throw new KvlrError('usage', { message: 'expected --memory with --largest-batch, got none.' });
  }
  if (shape !== undefined && path !== undefined) {
    throw new KvlrError('usage', { message: `expected CKPT or --shape, got ${path} and ${shape}.` });
  }
  const foreign = output?.find((file) => !['.json', '.md'].includes(extname(file)));
  if (foreign !== undefined) {
    throw new KvlrError('usage', { message: `expected -o to end in .json or .md, got ${foreign}.` });
  }
}

async function benchmark(
  path: string | undefined,
  options: BenchOptions,
  context: CommandContext,
): Promise<BenchmarkReport> {
  await prepareNodeRuntime();
  if (options.shape !== undefined) {
    const isMultiHead = options.shape === 'smollm2-135m-mha';
    const source = createRandomModel(isMultiHead ? smolMultiHeadShape : smolShape, options.seed);
    const name = isMultiHead ? 'SmolLM2-135M sizes, multi-head attention' : 'SmolLM2-135M shape';
    return run({ name: `${name}, random weights`, source, randomWeights: true }, undefined, options, context);
  }
  return withModel(path, context, ({ checkpoint, name }) => {
    const base = { name, source: checkpoint };
    if (options.against === undefined) return run(base, undefined, options, context);
    return withModel(options.against, context, (other) =>
      run(base, { name: other.name, source: other.checkpoint }, options, context),
    );
  });
}

async function run(
  base: BenchmarkSubject,
  compressed: BenchmarkSubject | undefined,
  options: BenchOptions,
  { onEvent, signal }: CommandContext,
): Promise<BenchmarkReport> {
  const { shape } = base.source;
  const others = compressed ? [compressed] : fewerHeads(base.source, options);
  const last = shape.maxPositionEmbeddings - options.tokens - 1;
  const report = await benchmarkDecoders({
    title: `Speed of ${base.name}`,
    base,
    others,
    contexts: options.contexts ?? [...new Set([512, 2048].map((tokens) => Math.min(tokens, last)))],
    promptTokens: options.prompt ?? Math.min(256, shape.maxPositionEmbeddings),
    batches: options.batch,
    tokens: options.tokens,
    rounds: options.rounds,
    weights: options.weights,
    cacheDtype: options.cacheDtype,
    memoryBytes: options.memory,
    timeLargestBatch: options.largestBatch,
    backend: options.backend,
    seed: options.seed,
    onEvent,
    signal,
  });
  return {
    ...report,
    notes: options.note === undefined ? report.notes : [options.note, ...report.notes],
    environment: { ...describeMachine(), ...report.environment },
  };
}

/** Random weights of the model's shape with these shares of its KV heads, as far as they divide. */
function fewerHeads({ shape }: ModelSource, { shares, seed }: BenchOptions): BenchmarkSubject[] {
  return shares.flatMap((share) => {
    const heads = shape.numKeyValueHeads * share;
    if (!Number.isInteger(heads)) return [];
    const source = createRandomModel(withKeyValueHeads(shape, heads), seed);
    return [{ name: `${formatRatio(share)} of the KV heads, random weights`, source, randomWeights: true }];
  });
}

/** Holds the places of the reports before the first measurement, and writes them at the end. */
async function withReports(
  { output = [], overwrite }: BenchOptions,
  measure: () => Promise<BenchmarkReport>,
): Promise<void> {
  const claims: PlaceClaim[] = [];
  try {
    for (const path of output) {
      claims.push(await claimPlace({ path, kind: 'file', overwrite }));
      await requireWritable(dirname(resolve(path)));
    }
    const report = await measure();
    for (const claim of claims) {
      const bytes = new TextEncoder().encode(reportText(claim.path, report));
      await replacePath(claim.path, { kind: 'file', claim }, (partial) =>
        fillFile(partial, (sink) => sink.write(bytes)),
      );
    }
  } finally {
    await Promise.all(claims.map((claim) => claim.release()));
  }
}

function reportText(path: string, report: BenchmarkReport): string {
  if (extname(path) === '.md') return `${markdownMark}\n${benchmarkMarkdown(report)}`;
  return `${JSON.stringify({ ...jsonMark, ...report }, undefined, 2)}\n`;
}
