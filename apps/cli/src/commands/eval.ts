import { type CacheDtype, cacheDtypes, KvlrError, type PartOfWindows } from '@kvlr/core';
import { toHarnessJson } from '@kvlr/evaluation';
import { type CheckpointEvaluationRequest, evaluateCacheDtypes, evaluateCheckpoint, parseRecipe } from '@kvlr/pipeline';
import { formatBytes } from '@kvlr/report';
import { cacheDtypesTerminal, evaluationTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { listTasks } from '@kvlr/tasks/node';
import { type Command, Option } from 'commander';
import { type OpenedModel, withModel } from '../inputs/models.ts';
import { loadEvaluationTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { peakMemoryBytes, runtimeOf, withWorkers } from '../machine.ts';
import {
  addComputeOptions,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/options.ts';
import {
  parseCacheDtypes,
  parseCount,
  parseCounts,
  parseNames,
  parsePart,
  parseSeed,
} from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { type LongContextOptions, printLongContext } from './eval-long-context.ts';
import { printRolling, type RollingOptions } from './eval-rolling.ts';
import { printTasks, type TaskOptions } from './eval-tasks.ts';

interface EvalOptions extends TextOptions, ComputeOptions, TaskOptions, LongContextOptions, RollingOptions {
  against?: string;
  also?: string[];
  windows: number;
  part?: PartOfWindows;
}

const defaults = parseRecipe({}).evaluation;

const taskNames = (await listTasks()).join(', ');

const afterHelp = `
Windows are taken from the start of each source of text and do not overlap; each is predicted from its own tokens.
With --json the result has the shape of lm-evaluation-harness's results files; with --cache-dtype it is a list of those.
--cache-dtype runs the windows on the kernels of generation, where every key and value is read back from the cache, and sets each
dtype beside f32.

--stride scores whole texts, every token once: with the stride of a window as lm-evaluation-harness does, with a shorter one each token
sees more of the text before it. --window-length then says how much is read at once.

--part 3/16 takes the third sixteenth of the windows: parts can be evaluated on as many machines, and kvlr merge puts their results together.

--long-context puts a passage and a name into texts of the length of the context, at several depths, and asks for them
at the end. Every row is set beside the first, probe by probe; -o writes the tables as Markdown and goes on where a run was cut.

--tasks asks what lm-evaluation-harness asks, with its prompts and scores: ${taskNames}, or a YAML
file of your own in its form. Data of tasks that are not embedded (kvlr_...) comes from the Hugging Face hub, once. With --against or
--cache-dtype every difference is paired over documents.

Examples:
  kvlr eval                                           the embedded model
  kvlr eval ./small --against ./model                 perplexity, KL divergence and agreement
  kvlr eval --cache-dtype f16,int8,int4               what a cache of fewer bits costs
  kvlr eval ./small --against ./model --tasks piqa,arc_easy,hellaswag -o out/tasks
  kvlr eval --also out/half out/quarter --long-context --cache-dtype int8,int4 --cache-window 256
  kvlr eval --long-context --lengths 512 --cache f16+policy=snapkv+keep=25%
  kvlr eval ./small --eval-text my-texts.jsonl --json > results.json
  kvlr eval ./small --against ./model --part 3/16 --json > part-03.json
  kvlr merge part-*.json`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('--against <ckpt>', 'the model it was made from; "embedded" for the embedded one')
    .addOption(
      new Option('--cache-dtype <list>', `what it costs to keep the KV cache as ${cacheDtypes.join(', ')}`).argParser(
        parseCacheDtypes,
      ),
    );
  command
    .option('--tasks <list>', 'tasks by name or path of their YAML, instead of texts', parseNames)
    .option('--long-context', 'instead of texts: copies, needles and perplexity by position')
    .option('--stride <n>', 'whole texts, each window predicting n tokens more: by tokens, words and bytes', parseCount)
    .option('--also <ckpts...>', 'further models, side by side, with --tasks, --long-context or --stride')
    .option('--lengths <list>', 'contexts of --long-context, tokens (default: 128,256,512,900)', parseCounts)
    .option('--probes <n>', 'probes of --long-context at each length and depth (default: 8)', parseCount)
    .option('--num-fewshot <n>', 'examples before each question (default: as the task says)', parseSeed)
    .option('--limit <n>', 'only the first n documents of each task: for testing, not for results', parseCount)
    .option('--cache-window <n>', 'also a cache that keeps the last n tokens, besides the first ones', parseCount)
    .option('--cache <names...>', 'also caches by name, with any codec and policy: klt-3, f16+policy=snapkv+keep=25%')
    .option('--cache-sinks <n>', 'how many first tokens such a cache keeps (default: 4)', parseSeed)
    .option('-o, --output <dir>', 'where results, samples and answers go; an interrupted run goes on from there');
  command.option(
    '--calibration <files...>',
    'texts that caches such as klt-3 are fitted to (default: the embedded ones)',
  );
  addTextOptions(command, { calibration: false, evaluation: true });
  command
    .option('--windows <n>', 'windows of each source', parseCount, defaults.windowsPerSource)
    .option(
      '--window-length <n>',
      'tokens a window; all but the first are predicted',
      parseCount,
      defaults.windowLength,
    )
    .option('--part <i/n>', 'the i-th of n equal parts of the windows (default: all)', parsePart);
  addComputeOptions(command)
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: EvalOptions) => {
      requireFitting(options);
      await withModel(path, context, (model) => {
        const { cacheDtype } = options;
        const print = printSideBySide(options);
        if (print !== undefined) {
          return withBase(options, context, (base) =>
            withModels(options.also ?? [], context, (others) => print([model, ...others], base, options, context)),
          );
        }
        return cacheDtype === undefined
          ? printEvaluation(model, options, context)
          : printCacheDtypes(model, cacheDtype, options, context);
      });
    });
}

/** Opens the model of --against for as long as it is used, where there is one. */
function withBase<Value>(
  { against }: EvalOptions,
  context: CommandContext,
  work: (base: OpenedModel | undefined) => Promise<Value>,
): Promise<Value> {
  return against === undefined ? work(undefined) : withModel(against, context, work);
}

/** What is asked of several models and caches side by side, if anything is. */
function printSideBySide({ tasks, longContext, stride }: EvalOptions) {
  if (tasks !== undefined) return printTasks;
  if (longContext) return printLongContext;
  return stride === undefined ? undefined : printRolling;
}

/** Opens further models for as long as they are used. */
async function withModels<Value>(
  [location, ...rest]: readonly string[],
  context: CommandContext,
  work: (models: OpenedModel[]) => Promise<Value>,
): Promise<Value> {
  if (location === undefined) return work([]);
  return withModel(location, context, (model) => withModels(rest, context, (others) => work([model, ...others])));
}

/** Options that only some ways to evaluate have, and what only those can set side by side. */
function requireFitting(options: EvalOptions): void {
  const { tasks, longContext, stride, numFewshot, limit, output, cacheWindow, cacheSinks, lengths, probes } = options;
  const { also, against, cacheDtype, cache, part } = options;
  const kinds = Object.entries({ tasks, 'long-context': longContext, stride }).filter(
    ([, value]) => value !== undefined,
  );
  const both = against !== undefined && cacheDtype !== undefined ? against : undefined;
  const ofAsking = {
    also,
    'cache-window': cacheWindow,
    cache,
    'cache-sinks': cacheSinks,
    'cache-dtype beside --against': both,
  };
  const wrong = [
    ...(tasks === undefined ? namesOfGiven({ 'num-fewshot': numFewshot, limit }, '--tasks') : []),
    ...(tasks === undefined && longContext !== true ? namesOfGiven({ output }, '--tasks or --long-context') : []),
    ...(longContext === true ? [] : namesOfGiven({ lengths, probes }, '--long-context')),
    ...(kinds.length > 0 ? [] : namesOfGiven(ofAsking, '--tasks, --long-context or --stride')),
    ...(part !== undefined && (kinds.length > 0 || cacheDtype !== undefined) ? ['--part with windows of texts'] : []),
    ...(kinds.length > 1 ? [`one of --${kinds.map(([name]) => name).join(', --')}`] : []),
  ];
  if (wrong.length === 0) return;
  throw new KvlrError('usage', {
    message: `expected ${wrong[0]}`,
    hint: 'kvlr eval --help shows what goes together.',
  });
}

function namesOfGiven(values: Record<string, unknown>, needed: string): string[] {
  return Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`${needed} with --${name}`]));
}

async function printEvaluation(model: OpenedModel, options: EvalOptions, context: CommandContext): Promise<void> {
  const { against, part } = options;
  const evaluateAgainst = (base?: OpenedModel) =>
    evaluateWith(model, options, context, (request) =>
      evaluateCheckpoint({ ...request, base: base?.checkpoint, part }),
    );
  const result = await withBase(options, context, evaluateAgainst);
  const ofPart = part === undefined ? '' : `, part ${part.part} of ${part.parts}`;
  context.print(`\n${model.name}${against === undefined ? '' : ` against ${against}`}${ofPart}\n`);
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
        runtime: { ...runtimeOf(options), workers },
        onEvent,
        signal,
      }),
    ),
  );
}
