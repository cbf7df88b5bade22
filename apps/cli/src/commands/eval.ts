import type { CacheDtype } from '@kvlr/core';
import { toHarnessJson } from '@kvlr/evaluation';
import { type CheckpointEvaluationRequest, evaluateCacheDtypes, evaluateCheckpoint, parseRecipe } from '@kvlr/pipeline';
import { formatBytes } from '@kvlr/report';
import { cacheDtypesTerminal, evaluationTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { type Command, Option } from 'commander';
import { type OpenedModel, withModel } from '../inputs/models.ts';
import { loadEvaluationTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { peakMemoryBytes, withWorkers } from '../machine.ts';
import {
  addComputeOptions,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/options.ts';
import { parseCacheDtypes, parseCount } from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface EvalOptions extends TextOptions, ComputeOptions {
  against?: string;
  cacheDtype?: CacheDtype[];
  windows: number;
  windowLength: number;
}

const defaults = parseRecipe({}).evaluation;

const afterHelp = `
Windows are taken from the start of each source of text and do not overlap; each is predicted from its own tokens.
With --json the result has the shape of lm-evaluation-harness's results files; with --cache-dtype it is a list of those.
--cache-dtype runs the windows on the kernels of generation, where every key and value is read back from the cache, and sets each
dtype beside f32.

Examples:
  kvlr eval                                           the embedded model
  kvlr eval ./small --against ./model                 perplexity, KL divergence and agreement
  kvlr eval --cache-dtype f16,int8,int4               what a cache of fewer bits costs
  kvlr eval ./small --eval-text my-texts.jsonl --json > results.json`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('--against <ckpt>', 'the model it was made from; "embedded" for the embedded one')
    .addOption(
      new Option('--cache-dtype <list>', 'what it costs to keep the KV cache as f32, f16, int8 or int4')
        .argParser(parseCacheDtypes)
        .conflicts('against'),
    );
  addTextOptions(command, { calibration: false, evaluation: true });
  command
    .option('--windows <n>', 'windows of each source', parseCount, defaults.windowsPerSource)
    .option(
      '--window-length <n>',
      'tokens a window; all but the first are predicted',
      parseCount,
      defaults.windowLength,
    );
  addComputeOptions(command)
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: EvalOptions) => {
      await withModel(path, context, (model) =>
        options.cacheDtype === undefined
          ? printEvaluation(model, options, context)
          : printCacheDtypes(model, options.cacheDtype, options, context),
      );
    });
}

async function printEvaluation(model: OpenedModel, options: EvalOptions, context: CommandContext): Promise<void> {
  const { against } = options;
  const evaluateAgainst = (base?: OpenedModel) =>
    evaluateWith(model, options, context, (request) => evaluateCheckpoint({ ...request, base: base?.checkpoint }));
  const result = against === undefined ? await evaluateAgainst() : await withModel(against, context, evaluateAgainst);
  context.print(`\n${model.name}${against === undefined ? '' : ` against ${against}`}\n`);
  context.print(evaluationTerminal(result, context.terminal.styles));
  context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
  context.printJson(toHarnessJson(result, { date: new Date() }));
}

async function printCacheDtypes(
  model: OpenedModel,
  dtypes: CacheDtype[],
  options: EvalOptions,
  context: CommandContext,
): Promise<void> {
  const evaluations = await evaluateWith(model, options, context, (request) =>
    evaluateCacheDtypes({ ...request, dtypes }),
  );
  context.print(`\n${model.name}\n`);
  context.print(cacheDtypesTerminal(evaluations, context.terminal.styles));
  context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
  const date = new Date();
  context.printJson(evaluations.map(({ dtype, evaluation }) => ({ dtype, ...toHarnessJson(evaluation, { date }) })));
}

async function evaluateWith<Value>(
  { checkpoint }: OpenedModel,
  options: EvalOptions,
  { onEvent, signal }: CommandContext,
  work: (request: CheckpointEvaluationRequest) => Promise<Value>,
): Promise<Value> {
  const texts = await loadEvaluationTexts(options);
  await prepareNodeRuntime();
  return nameTextFiles(options, () =>
    withWorkers(options.workers, checkpoint, (workers) =>
      work({
        model: checkpoint,
        texts,
        windows: { windowsPerSource: options.windows, windowLength: options.windowLength },
        runtime: { backend: options.backend, workers },
        onEvent,
        signal,
      }),
    ),
  );
}
