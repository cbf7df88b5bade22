import { join } from 'node:path';
import {
  artefactNames,
  type ComparedGrouping,
  compressionMethods,
  groupingStrategies,
  type MethodChoice,
} from '@kvlr/pipeline';
import { compareToDirectory, loadGrouping, loadMethod } from '@kvlr/pipeline/node';
import { formatBytes } from '@kvlr/report';
import { comparisonTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { type Command, Option } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { loadRecipe, type RecipeOptions } from '../inputs/load-recipe.ts';
import { loadCalibrationTexts, loadEvaluationTexts, nameTextFiles, type TextOptions } from '../inputs/load-texts.ts';
import { type OpenedModel, withModel } from '../inputs/open-model.ts';
import { describeMachine, peakMemoryBytes } from '../machine.ts';
import { parseShares } from '../options/parse-values.ts';
import {
  addBackendOption,
  addGroupingOption,
  addRecipeFileOption,
  addRecoverOption,
  addSeedOption,
  addTextOptions,
  type BackendChoice,
  modelArgument,
  modelArgumentHelp,
} from '../options/shared-options.ts';
import { prototypeFigure } from '../prototype-figures.ts';
import { listNames } from '../terminal/list-names.ts';

interface CompareOptions extends Pick<RecipeOptions, 'recipe' | 'recover' | 'seed' | 'grouping'>, TextOptions {
  output: string;
  methods?: string[];
  /** True without names. */
  groupings?: string[] | true;
  ratios?: number[];
  backend: BackendChoice;
  overwrite?: boolean;
}

/** Those that work from statistics and weights: a run does not measure blocks. */
const availableGroupings = Object.fromEntries(
  Object.entries(groupingStrategies).filter(([, { needsMeasurement }]) => !needsMeasurement),
);

const afterHelp = `
The default recipe, with its block reconstruction, is the last row. Rows that are finished are kept: after Ctrl-C the
same command goes on with the next one. DIR holds comparison.html, .md, .svg and .json.

--groupings compares which heads share one: the recipe's method with each grouping, the key and value energy that its
groups lose, and its perplexity before and (without --recover none) after block reconstruction.

Examples:
  kvlr compare                                                   the embedded model; about an hour on two cores
  kvlr compare ./model --methods mean-pool svd-a --ratios 1/2 --recover none
  kvlr compare ./model --groupings contiguous lost-energy ./mine.mjs --recover light

Methods:
${listNames(compressionMethods, ({ title, layout }) => (layout === 'latent' ? `${title} (kvlr only)` : title))}

Groupings:
${listNames(availableGroupings, ({ description }) => description)}`;

export function addCompareCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('compare')
    .description('every method at every ratio on one model, as one table: what each would cost')
    .argument(modelArgument, modelArgumentHelp)
    .option('-o, --output <dir>', 'where the tables go', 'kvlr-comparison')
    .option('--methods <names...>', 'methods to compare: names or ES modules such as ./mine.mjs (default: all names)')
    .addOption(
      new Option(
        '--groupings [names...]',
        'compare groupings instead: names or ES modules such as ./mine.mjs (default: all names)',
      ).conflicts(['methods', 'grouping']),
    )
    .option('--ratios <shares>', 'shares of the KV heads to keep (default: 1/2,1/4,1/8)', parseShares);
  addRecoverOption(command);
  addGroupingOption(command);
  addTextOptions(command, { calibration: true, evaluation: true });
  addBackendOption(command);
  addSeedOption(command, 'seed of the calibration windows and of the reconstruction (default: 0)');
  addRecipeFileOption(command)
    .option('--overwrite', 'replace a comparison that is complete')
    .addHelpText('after', afterHelp)
    .action((path: string | undefined, options: CompareOptions) =>
      nameTextFiles(options, () => withModel(path, (model) => compare(model, options, context))),
    );
}

async function compare(model: OpenedModel, options: CompareOptions, context: CommandContext): Promise<void> {
  const recipe = await loadRecipe(options);
  const grouping = await loadGrouping(recipe.grouping);
  const texts = { calibration: await loadCalibrationTexts(options), evaluation: await loadEvaluationTexts(options) };
  await prepareNodeRuntime();
  const report = await compareToDirectory({
    model: model.checkpoint,
    modelName: model.name,
    recipe,
    grouping,
    texts,
    methods: options.methods,
    ownMethods: await loadMethods([...(options.methods ?? []), recipe.method]),
    groupings: options.groupings && (await loadGroupings(options.groupings)),
    ratios: options.ratios,
    references: model.embedded && options.evalText === undefined ? prototypeFigure : undefined,
    runtime: { backend: options.backend },
    output: options.output,
    overwrite: options.overwrite,
    environment: describeMachine,
    onEvent: context.onEvent,
    signal: context.signal,
  });
  context.print(`\n${comparisonTerminal(report, { details: true, styles: context.terminal.styles })}\n`);
  context.print(`Peak memory  ${formatBytes(peakMemoryBytes())}`);
  context.print(`Report       ${join(options.output, artefactNames.comparisonHtml)}`);
  context.printJson({ output: options.output, peakMemoryBytes: peakMemoryBytes(), report });
}

function loadGroupings(wanted: string[] | true): Promise<ComparedGrouping[]> {
  const names = wanted === true ? Object.keys(availableGroupings) : wanted;
  return Promise.all(names.map(async (name) => ({ name, choice: await loadGrouping(name) })));
}

/** The methods among these that are modules, by the path that names them. */
async function loadMethods(names: readonly string[]): Promise<Map<string, MethodChoice>> {
  const methods = new Map<string, MethodChoice>();
  for (const name of names) {
    const method = await loadMethod(name);
    if (method) methods.set(name, method);
  }
  return methods;
}
