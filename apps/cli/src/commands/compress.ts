import { totalmem } from 'node:os';
import { join, relative } from 'node:path';
import { artefactNames, budgetPolicies, cacheEngines, compressionMethods, groupingStrategies } from '@kvlr/pipeline';
import {
  compressToDirectory,
  type DirectoryCompressionRequest,
  openStatistics,
  planCompressionToDirectory,
  runDirectoryOf,
} from '@kvlr/pipeline/node';
import { formatBytes, formatWorkTime } from '@kvlr/report';
import { compressionTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { type Command, Option } from 'commander';
import { locationOf, type OpenedModel, withModel } from '../inputs/models.ts';
import {
  examplesDirectory,
  loadPlugins,
  loadRecipe,
  type RecipeOptions,
  recipeNames,
  recipesDirectory,
} from '../inputs/recipes.ts';
import { loadRunTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { countThreads, describeMachine, peakMemoryBytes, runtimeOf, withWorkers } from '../machine.ts';
import {
  addComputeOptions,
  addRecipeOptions,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/options.ts';
import { parseBytes, parseCount, parseShare, parseTokens } from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { listNames, planToText, wrapNames } from '../terminal/texts.ts';
import { asksForBudget, type BudgetOptions, planBudget } from './compress-to-budget.ts';

interface CompressOptions extends RecipeOptions, TextOptions, ComputeOptions, BudgetOptions {
  output: string;
  run?: string;
  overwrite?: boolean;
  maxShardSize?: number;
  dryRun?: boolean;
  statistics?: string;
  /** False with --no-eval. */
  eval: boolean;
}

const afterHelp = () => `
What happens: second moments of keys, values and queries are gathered on the calibration text; a budget says how many KV
heads each layer keeps (the same everywhere unless told otherwise); heads are grouped; closed forms give each group one KV
head, folded into the projections; output projections are refitted (refit: seconds) and block reconstruction trains the attention
of each layer back to the original's output (light: minutes; full: about eight times the steps); the result is evaluated against the original;
OUT is written last and renamed into place, with the recipe and a model card (README.md) that states what was measured.

With a budget of bytes (--cache-bytes, or --memory and --context) heads and bits are chosen together, from a few measurements that are
kept in OUT.plan: what was chosen and what was not, and why, is printed. Where bits alone meet the budget at half a percent of perplexity or
less, the weights stay as they are and nothing is written.

Everything that resuming needs lies in OUT.run: after Ctrl-C the same command goes on where it was cut.

Examples:
  kvlr compress                                    the embedded model, default recipe, into ./kvlr-out
  kvlr compress --recipe quick --overwrite         closed forms and a refit alone: a minute
  kvlr compress ./model -o ./small --kv-heads 2 --grouping ./mine.mjs
  kvlr compress ./model -o ./small --keep 50% --head-width 1x         heads as wide as the model's: no more parameters
  kvlr compress ./model -o ./small --keep 50% --budget measured
  kvlr compress ./model -o ./small --statistics merged      with what kvlr calibrate gathered on other machines
  kvlr compress ./Llama-2-7b -o ./small --method svd-w --recover none --no-eval      from the weights alone, in minutes
  kvlr compress ./model -o ./small --cache-bytes 12.5% --for llama.cpp    heads, bits of keys and values, and llama.cpp's flags
  kvlr compress ./model -o ./small --context 32k --memory 2GB --for vllm
  kvlr compress ./model -o ./small --method ./mine.mjs --recipe best
  kvlr compress ./model -o ./small --recipe ./other/recipe.yaml --calibration my-texts.jsonl

Plug-ins of your own: one that works of each kind lies in ${examplesDirectory}

Recipes (--recipe NAME): quick, default and best, and one for each row of kvlr compare --all, in ${recipesDirectory}:
${wrapNames(recipeNames())}

Methods:
${listNames(compressionMethods, ({ title, portable }) => (portable ? title : `${title} (kvlr only)`))}

Groupings:
${listNames(groupingStrategies, ({ description }) => description)}

Budgets, all with the total that --keep or --kv-heads gives (one that differs by layer runs in kvlr and llama.cpp only):
${listNames(budgetPolicies, ({ description }) => description)}`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('-o, --output <dir>', 'where the checkpoint goes', 'kvlr-out');
  addRecipeOptions(command);
  command
    .option(
      '--cache-bytes <share>',
      "let the cache take this share of its bytes at two a number (12.5%), and let kvlr choose heads and the engine's cache",
      parseShare,
    )
    .option('--context <tokens>', 'tokens to plan for: 4096 or 32k (default: the positions of the model)', parseTokens)
    .option('--memory <size>', 'the same as bytes of one sequence at --context: 2GB', parseBytes)
    .addOption(
      new Option('--for <engine>', 'whose cache it is: what can be chosen, and which flags are printed')
        .choices(Object.keys(cacheEngines))
        .default('kvlr'),
    )
    .option('--plan-windows <n>', 'windows of each source of text that the plan is measured on', parseCount, 4);
  addTextOptions(command, { calibration: true, evaluation: true });
  addComputeOptions(command)
    .option('--run <dir>', 'directory that keeps what resuming needs, and the report (default: OUT.run)')
    .option('--overwrite', 'replace an earlier result at OUT, once the new one is complete')
    .option('--max-shard-size <size>', 'split the weights into files of at most this size (default: 5GB)', parseBytes)
    .option('--statistics <dir>', 'take what kvlr calibrate or kvlr merge gathered, and gather nothing')
    .option('--no-eval', 'do not evaluate the result: without a repair, methods of weights alone then load no model')
    .option('--dry-run', 'print memory, disk and time that it would take, and do nothing')
    .addHelpText('after', afterHelp)
    .action((path: string | undefined, options: CompressOptions) =>
      nameTextFiles(options, () =>
        withModel(path, context, async (model) => {
          const chosen = asksForBudget(options) ? await planBudget(model, options, context) : {};
          if (chosen !== undefined) await (options.dryRun ? plan : compress)(model, { ...options, ...chosen }, context);
        }),
      ),
    );
}

/** The command line that makes the run again where this one was started, into another place. */
function repeatCommand(model: OpenedModel, { output, run }: CompressOptions): string {
  const recipe = join(relative('.', runDirectoryOf({ output, runDirectory: run })), artefactNames.recipe);
  const words = ['npx', 'kvlr', 'compress', locationOf(model), '--recipe', recipe, '--output', `${output}-again`];
  return words.map((word) => (/^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}

async function requestOf(
  model: OpenedModel,
  options: CompressOptions,
  { onEvent, signal }: CommandContext,
): Promise<DirectoryCompressionRequest> {
  const asked = await loadRecipe(options, model.checkpoint.shape.headDim);
  const recipe = options.eval ? asked : { ...asked, evaluation: { ...asked.evaluation, windowsPerSource: 0 } };
  return {
    model: model.checkpoint,
    modelName: model.name,
    modelLocation: locationOf(model),
    repeat: repeatCommand(model, options),
    recipe,
    ...(await loadPlugins(recipe)),
    texts: await loadRunTexts(options),
    ...(options.statistics !== undefined && { statistics: await openStatistics(options.statistics) }),
    runtime: runtimeOf(options),
    output: options.output,
    runDirectory: options.run,
    overwrite: options.overwrite,
    maxShardBytes: options.maxShardSize,
    machineMemoryBytes: totalmem(),
    environment: describeMachine,
    ...{ onEvent, signal },
  };
}

async function plan(model: OpenedModel, options: CompressOptions, context: CommandContext): Promise<void> {
  const request = await requestOf(model, options, context);
  await prepareNodeRuntime();
  const planned = await planCompressionToDirectory({
    ...request,
    threads: countThreads(options.workers, model.checkpoint),
  });
  context.print(planToText(model.name, planned));
  const { outcome, notes } = planned.plan;
  context.printJson({
    ...{ backend: planned.backend, estimate: planned.estimate, budget: planned.budget },
    ...{ outcome, notes },
  });
}

async function compress(model: OpenedModel, options: CompressOptions, context: CommandContext): Promise<void> {
  const request = await requestOf(model, options, context);
  await prepareNodeRuntime();
  const { report, stages } = await withWorkers(options.workers, model.checkpoint, (workers) =>
    compressToDirectory({ ...request, runtime: { ...request.runtime, workers } }),
  );
  const runDirectory = runDirectoryOf(request);
  const reportPath = join(relative('.', runDirectory), artefactNames.reportHtml);
  const times = stages.map((stage) => `${stage.stage} ${formatWorkTime([stage])}`);
  context.print(`\n${compressionTerminal(report, context.terminal.styles)}\n`);
  context.print(`Time         ${times.join(', ')}`);
  context.print(`Peak memory  ${formatBytes(report.environment.peakMemoryBytes ?? peakMemoryBytes())}`);
  context.print(`Checkpoint   ${options.output}`);
  context.print(`Report       ${reportPath}`);
  context.printJson({
    output: options.output,
    runDirectory,
    reportPath,
    peakMemoryBytes: peakMemoryBytes(),
    stages,
    report,
  });
}
