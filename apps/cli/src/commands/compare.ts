import { join } from 'node:path';
import {
  artefactNames,
  bestRecipes,
  budgetPolicies,
  cacheCodecs,
  cachePolicies,
  compressionMethods,
  groupingStrategies,
} from '@kvlr/pipeline';
import { compareToDirectory } from '@kvlr/pipeline/node';
import { formatBytes } from '@kvlr/report';
import { comparisonTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { type Command, Option } from 'commander';
import {
  type ComparisonRowOptions,
  defaultRecovery,
  loadComparisonRows,
  shortList,
} from '../inputs/comparison-rows.ts';
import { locationOf, type OpenedModel, withModel } from '../inputs/models.ts';
import { loadRecipe, type RecipeOptions } from '../inputs/recipes.ts';
import { loadRunTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { describeMachine, peakMemoryBytes, runtimeOf, withWorkers } from '../machine.ts';
import {
  addBudgetOption,
  addComputeOptions,
  addDistillOption,
  addGroupingOption,
  addHeadWidthOption,
  addKeyScalesOption,
  addRecipeFileOption,
  addRecoverOption,
  addSeedOption,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/options.ts';
import { parseCount, parseCounts, parseHeadWidths, parseShares } from '../options/parse-values.ts';
import { prototypeFigure } from '../prototype-figures.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { listNames } from '../terminal/texts.ts';
import { type BytesOptions, compareAtEqualBytes } from './compare-bytes.ts';
import { printPlannedComparison } from './planned-comparison.ts';

interface CompareOptions
  extends Pick<
      RecipeOptions,
      'recipe' | 'recover' | 'distill' | 'seed' | 'grouping' | 'budget' | 'headWidth' | 'keyScales'
    >,
    ComparisonRowOptions,
    TextOptions,
    ComputeOptions {
  output: string;
  bytes?: BytesOptions['bytes'];
  contexts?: number[];
  ratios?: number[];
  windows?: number;
  overwrite?: boolean;
  dryRun?: boolean;
}

const afterHelp = `
Which rows the table has:
  kvlr compare                     one closed form of each kind, without reconstruction:
                                   ${shortList.join(', ')}
  kvlr compare --methods A B       these closed forms instead
  kvlr compare --all               every closed form, ${[...bestRecipes.keys()].join(', ')}, and the default recipe with its
                                   block reconstruction
  kvlr compare --initialisations   every stock closed form before and after block reconstruction (light, unless --recover
                                   says otherwise): what the closed forms are worth once it has run
  kvlr compare --groupings         the default method with every grouping, before and after block reconstruction, what its
                                   groups cost (energy lost, error measured at the block's output), and how far it is
                                   from contiguous groups
  kvlr compare --budgets           the default method with every budget likewise, what each layer keeps, and how far it is
                                   from the same in every layer
  kvlr compare --head-widths       the default method with heads of 1, 2 and 4 times the model's width, at equal bytes, before
                                   and after block reconstruction, with their price in parameters and arithmetic
  kvlr compare --bytes             perplexity against exact bytes: the model's heads, and fewer of them, each through every cache
                                   (see below); heads alone are the rows of f16. --bytes A B names the caches
--recover light or full adds the row of the recipe itself with that reconstruction to the first two; none takes
reconstruction out of the others. --distill adds one with training behind it. --budget holds for the rows of the recipe.

At each ratio the methods stand in order, with the difference to the next better one paired over windows; what lies below two
standard errors is called noise. Fewer --windows are quicker and leave larger errors.

Each row is one command: kvlr compress --recipe ROW --keep RATIO; that of the recipe itself is kvlr compress. Rows that are finished are kept: after Ctrl-C the same command goes on with the next one, and another comparison
with the same -o and --overwrite takes them over. DIR holds comparison.html, .md, .svg and .json, which has the scores of
every window.

Examples:
  kvlr compare                                                   the embedded model; each row is evaluated in about a minute
  kvlr compare --all --dry-run                                   its rows, and how long it would take
  kvlr compare --all -o everything                               the whole table; hours, most of them block reconstruction
  kvlr compare ./model --methods mean-pool svd-a ./mine.mjs --ratios 1/2 --windows 6
  kvlr compare --budgets --recipe svd-a --ratios 1/4             keys and values apart, in the latent layout
  kvlr compare ./model --head-widths 1x,2x --ratios 1/2,1/4 --recover light
  kvlr compare ./model --groupings contiguous lost-energy ./mine.mjs --recover light
  kvlr compare --bytes --windows 6 -o equal-bytes                every cache, a first look
  kvlr compare ./model --bytes f16 q8_0:q5_1 channel-2+window=32+first=4 ./mine.mjs --ratios 1/2
  kvlr compare --bytes f16 channel-3 f16+policy=snapkv+keep=25% --ratios 1     the model's own heads alone

Caches of --bytes: CODEC, or KEYS:VALUES, then +window=N (newest tokens that stay exact) and +first=N (first ones), then
+policy=POLICY+keep=25% (the share of tokens that stay). Codecs, or ES modules such as ./mine.mjs:
${listNames(cacheCodecs, ({ title }) => title)}

Policies of --bytes, or ES modules:
${listNames(cachePolicies, ({ title }) => title)}

Methods:
${listNames(compressionMethods, ({ title, portable }) => (portable ? title : `${title} (kvlr only)`))}

Groupings:
${listNames(groupingStrategies, ({ description }) => description)}

Budgets:
${listNames(budgetPolicies, ({ description }) => description)}`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('-o, --output <dir>', 'where the tables go', 'kvlr-comparison')
    .option(
      '--methods <names...>',
      'closed forms to compare: names or ES modules such as ./mine.mjs (default: see below)',
    )
    .addOption(
      new Option('--all', 'every closed form, and the recipes that follow them up').conflicts([
        'methods',
        'initialisations',
        'groupings',
        'budgets',
      ]),
    )
    .addOption(
      new Option(
        '--initialisations [names...]',
        'closed forms before and after block reconstruction: names or ES modules (default: all that give stock layouts)',
      ).conflicts(['methods', 'groupings', 'budgets']),
    )
    .addOption(
      new Option(
        '--groupings [names...]',
        'compare groupings instead: names or ES modules such as ./mine.mjs (default: all names)',
      ).conflicts(['methods', 'grouping', 'budgets']),
    )
    .addOption(
      new Option(
        '--budgets [names...]',
        'compare budgets instead: names or ES modules such as ./mine.mjs (default: all names)',
      ).conflicts(['methods', 'budget']),
    )
    .addOption(
      new Option(
        '--head-widths [widths]',
        "compare widths of heads instead, in widths of the model's (default: 1x,2x,4x)",
      )
        .argParser(parseHeadWidths)
        .conflicts(['methods', 'all', 'initialisations', 'groupings', 'budgets', 'headWidth']),
    )
    .addOption(
      new Option(
        '--bytes [caches...]',
        'compare perplexity at equal bytes instead: heads, bits and exact tokens (default: one cache of each kind)',
      ).conflicts(['methods', 'all', 'initialisations', 'groupings', 'budgets', 'headWidths']),
    )
    .option(
      '--contexts <list>',
      'with --bytes: tokens of context to count bytes at (default: 1024,4096,32768)',
      parseCounts,
    )
    .option('--ratios <shares>', 'shares of the KV heads to keep (default: 1/2,1/4,1/8)', parseShares)
    .option('--windows <n>', 'windows of each source of text to evaluate on (default: 24)', parseCount);
  addRecoverOption(command, 'block reconstruction of the rows that have one (default: see below)');
  addDistillOption(command, 'a row of the recipe with end-to-end training too (default: none)');
  addHeadWidthOption(command, "the model's, and auto in the rows of recipes");
  addKeyScalesOption(command);
  addGroupingOption(command);
  addBudgetOption(command);
  addTextOptions(command, { calibration: true, evaluation: true });
  addComputeOptions(command);
  addSeedOption(command, 'seed of the calibration windows and of the reconstruction (default: 0)');
  addRecipeFileOption(command)
    .option('--overwrite', 'replace a comparison that is complete')
    .option('--dry-run', 'print the rows, memory and time that it would take, and do nothing')
    .addHelpText('after', afterHelp)
    .action((path: string | undefined, options: CompareOptions) =>
      nameTextFiles(options, () =>
        withModel(path, context, (model) =>
          options.bytes === undefined
            ? compare(model, options, context)
            : compareAtEqualBytes(model, { ...options, bytes: options.bytes }, context),
        ),
      ),
    );
}

async function compare(model: OpenedModel, options: CompareOptions, context: CommandContext): Promise<void> {
  const { onEvent, signal } = context;
  const { headDim } = model.checkpoint.shape;
  const loaded = await loadRecipe({ ...options, recover: options.recover ?? defaultRecovery(options) }, headDim);
  const windowsPerSource = options.windows ?? loaded.evaluation.windowsPerSource;
  const recipe = { ...loaded, evaluation: { ...loaded.evaluation, windowsPerSource } };
  const request = {
    model: model.checkpoint,
    modelName: model.name,
    modelLocation: locationOf(model),
    recipe,
    texts: await loadRunTexts(options),
    rows: await loadComparisonRows(options, model.checkpoint, recipe),
    references: model.embedded && options.evalText === undefined ? prototypeFigure : undefined,
    output: options.output,
    overwrite: options.overwrite,
    environment: describeMachine,
    ...{ onEvent, signal },
  };
  await prepareNodeRuntime();
  if (options.dryRun) return printPlannedComparison(model, request, options, context);
  const report = await withWorkers(options.workers, model.checkpoint, (workers) =>
    compareToDirectory({ ...request, runtime: { ...runtimeOf(options), workers } }),
  );
  context.print(`\n${comparisonTerminal(report, { details: true, styles: context.terminal.styles })}\n`);
  context.print(`Peak memory  ${formatBytes(report.environment?.peakMemoryBytes ?? peakMemoryBytes())}`);
  context.print(`Report       ${join(options.output, artefactNames.comparisonHtml)}`);
  context.printJson({ output: options.output, peakMemoryBytes: peakMemoryBytes(), report });
}
