import { join, relative, resolve } from 'node:path';
import { CalibrationText } from '@kvlr/calibration';
import {
  artefactNames,
  budgetPolicies,
  compressionMethods,
  estimateCompression,
  foreseeBudget,
  groupingStrategies,
  inspectModel,
} from '@kvlr/pipeline';
import {
  claimOutput,
  compressToDirectory,
  loadBudget,
  loadGrouping,
  loadMethod,
  runDirectoryOf,
} from '@kvlr/pipeline/node';
import { formatBytes, formatWorkTime } from '@kvlr/report';
import { compressionTerminal } from '@kvlr/report/terminal';
import { selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { loadRecipe, type RecipeOptions } from '../inputs/load-recipe.ts';
import { loadCalibrationTexts, loadEvaluationTexts, nameTextFiles, type TextOptions } from '../inputs/load-texts.ts';
import { locationOf, type OpenedModel, withModel } from '../inputs/open-model.ts';
import { recipeNames } from '../inputs/read-recipe.ts';
import { examplesDirectory, recipesDirectory } from '../inputs/shipped-directories.ts';
import { withWorkers } from '../inputs/with-workers.ts';
import { describeMachine, peakMemoryBytes } from '../machine.ts';
import { parseBytes } from '../options/parse-values.ts';
import { addRecipeOptions } from '../options/recipe-options.ts';
import {
  addComputeOptions,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/shared-options.ts';
import { estimateToText } from '../terminal/estimate-to-text.ts';
import { listNames, wrapNames } from '../terminal/list-names.ts';
import { sayThatItResumes } from '../terminal/say-that-it-resumes.ts';

interface CompressOptions extends RecipeOptions, TextOptions, ComputeOptions {
  output: string;
  run?: string;
  overwrite?: boolean;
  maxShardSize?: number;
  dryRun?: boolean;
}

const afterHelp = () => `
What happens: second moments of keys, values and queries are gathered on the calibration text; a budget says how many KV
heads each layer keeps (the same everywhere unless told otherwise); heads are grouped; closed forms give each group one KV
head, folded into the projections; block reconstruction then trains the attention of each layer back to the original's
output (full: as many minutes as it needs; light: fewer and smaller steps); the result is judged against the original; OUT
is written last and renamed into place, with the recipe and a model card (README.md) that states what was measured.

Everything that resuming needs lies in OUT.run: after Ctrl-C the same command goes on where it was cut.

Examples:
  kvlr compress                                    the embedded model, full recipe, into ./kvlr-out
  kvlr compress --recover light --overwrite        minutes instead of a quarter of an hour
  kvlr compress ./model -o ./small --kv-heads 2 --grouping ./mine.mjs
  kvlr compress ./model -o ./small --keep 50% --budget measured
  kvlr compress ./model -o ./small --method ./mine.mjs --recipe kvlr-quarter
  kvlr compress ./model -o ./small --recipe ./other/recipe.yaml --calibration my-texts.jsonl

Plug-ins of your own: one that works of each kind lies in ${examplesDirectory}

Recipes (--recipe NAME), one for each row of kvlr compare --all, in ${recipesDirectory}:
${wrapNames(recipeNames())}

Methods:
${listNames(compressionMethods, ({ title, layout }) => (layout === 'latent' ? `${title} (kvlr only)` : title))}

Groupings:
${listNames(groupingStrategies, ({ description }) => description)}

Budgets, all with the total that --keep or --kv-heads gives (one that differs by layer runs in kvlr and llama.cpp only):
${listNames(budgetPolicies, ({ description }) => description)}`;

export function addCompressCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('compress')
    .description('give a model fewer KV heads: writes a checkpoint and a report of what it cost and saves')
    .argument(modelArgument, modelArgumentHelp)
    .option('-o, --output <dir>', 'where the checkpoint goes', 'kvlr-out');
  addRecipeOptions(command);
  addTextOptions(command, { calibration: true, evaluation: true });
  addComputeOptions(command)
    .option('--run <dir>', 'directory that keeps what resuming needs, and the report (default: OUT.run)')
    .option('--overwrite', 'replace an earlier result at OUT, once the new one is complete')
    .option('--max-shard-size <size>', 'split the weights into files of at most this size (default: 5GB)', parseBytes)
    .option('--dry-run', 'print memory, disk and time that it would take, and do nothing')
    .addHelpText('after', afterHelp)
    .action((path: string | undefined, options: CompressOptions) =>
      sayThatItResumes(() =>
        nameTextFiles(options, () =>
          withModel(path, context, (model) => (options.dryRun ? estimate : compress)(model, options, context)),
        ),
      ),
    );
}

async function estimate(
  { checkpoint, name }: OpenedModel,
  options: CompressOptions,
  context: CommandContext,
): Promise<void> {
  const recipe = await loadRecipe(options);
  // A dry run refuses what the run itself would refuse before it begins to compute.
  await inspectModel(checkpoint, recipe);
  const [method] = await Promise.all([
    loadMethod(recipe.method),
    loadGrouping(recipe.grouping),
    loadBudget(recipe.budget.policy),
  ]);
  const documents = await loadEvaluationTexts(options);
  const output = resolve(options.output);
  await claimOutput({
    output,
    runDirectory: runDirectoryOf({ output, runDirectory: options.run }),
    overwrite: options.overwrite ?? false,
    modelId: checkpoint.id,
    modelLocation: checkpoint.location,
  });
  const { windows: count, windowLength: length, seed } = recipe.calibration;
  const text = new CalibrationText(await loadCalibrationTexts(options), await checkpoint.tokenizer());
  text.sample({ count, length, seed });
  await prepareNodeRuntime();
  const choice = await selectBackend({ backend: options.backend });
  const evaluationSources = new Set(documents.map((document) => document.source)).size;
  const request = { model: checkpoint, recipe, backend: choice.backend, evaluationSources };
  const estimated = estimateCompression(request);
  const budget = await foreseeBudget(checkpoint, recipe, method?.method);
  context.print(estimateToText(name, choice, estimated, { policy: recipe.budget.policy, budget }));
  context.printJson({ backend: choice, estimate: estimated, budget });
}

async function compress(model: OpenedModel, options: CompressOptions, context: CommandContext): Promise<void> {
  const { checkpoint } = model;
  const recipe = await loadRecipe(options);
  const grouping = await loadGrouping(recipe.grouping);
  const method = await loadMethod(recipe.method);
  const budget = await loadBudget(recipe.budget.policy);
  const texts = { calibration: await loadCalibrationTexts(options), evaluation: await loadEvaluationTexts(options) };
  await prepareNodeRuntime();
  const result = await withWorkers(options.workers, checkpoint, (workers) =>
    compressToDirectory({
      model: checkpoint,
      modelName: model.name,
      modelLocation: locationOf(model),
      recipe,
      grouping,
      method,
      budget,
      texts,
      runtime: { backend: options.backend, workers },
      output: options.output,
      runDirectory: options.run,
      overwrite: options.overwrite,
      maxShardBytes: options.maxShardSize,
      environment: describeMachine,
      onEvent: context.onEvent,
      signal: context.signal,
    }),
  );
  const { report, stages } = result;
  const runDirectory = runDirectoryOf({ output: options.output, runDirectory: options.run });
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
