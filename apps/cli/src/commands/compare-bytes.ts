import { join } from 'node:path';
import { artefactNames, comparedCaches, headsRows } from '@kvlr/pipeline';
import { compareBytesToDirectory, loadCache } from '@kvlr/pipeline/node';
import { frontierTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { locationOf, type OpenedModel } from '../inputs/models.ts';
import { loadPlugins, loadRecipe, type RecipeOptions } from '../inputs/recipes.ts';
import { loadRunTexts, type TextOptions } from '../inputs/texts.ts';
import { describeMachine, peakMemoryBytes, runtimeOf, withWorkers } from '../machine.ts';
import type { ComputeOptions } from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { printPlannedComparison } from './planned-comparison.ts';

/** The options of `compare` that `--bytes` reads. */
export interface BytesOptions
  extends Pick<
      RecipeOptions,
      'recipe' | 'recover' | 'distill' | 'seed' | 'grouping' | 'budget' | 'headWidth' | 'keyScales'
    >,
    TextOptions,
    ComputeOptions {
  /** Caches by name, or true for the usual ones. */
  bytes: string[] | true;
  contexts?: number[];
  ratios?: number[];
  windows?: number;
  output: string;
  overwrite?: boolean;
  dryRun?: boolean;
}

/** Contexts at which bytes are counted, beside the length of the windows. */
const usualContexts = [1024, 4096, 32_768];

/** `kvlr compare --bytes`. */
export async function compareAtEqualBytes(
  model: OpenedModel,
  options: BytesOptions,
  context: CommandContext,
): Promise<void> {
  const { onEvent, signal, print, printJson, terminal } = context;
  const { shape } = model.checkpoint;
  const recover = options.recover ?? (options.recipe === undefined ? 'none' : undefined);
  const loaded = await loadRecipe({ headWidth: 'auto', ...options, recover }, shape.headDim);
  const windowsPerSource = options.windows ?? loaded.evaluation.windowsPerSource;
  const recipe = { ...loaded, evaluation: { ...loaded.evaluation, windowsPerSource } };
  const names = options.bytes === true ? comparedCaches : options.bytes;
  const caches = await Promise.all(names.map((name) => loadCache(name)));
  const texts = await loadRunTexts(options);
  const rows = headsRows({ model: model.checkpoint, recipe, ...(await loadPlugins(recipe)), ratios: options.ratios });
  const { checkpoint, name: modelName } = model;
  const request = { model: checkpoint, modelName, modelLocation: locationOf(model), recipe, texts, rows, caches };
  await prepareNodeRuntime();
  if (options.dryRun) return printPlannedComparison(model, request, options, context);
  const report = await withWorkers(options.workers, checkpoint, (workers) =>
    compareBytesToDirectory({
      ...request,
      contexts: options.contexts ?? usualContexts,
      output: options.output,
      overwrite: options.overwrite,
      runtime: { ...runtimeOf(options), workers },
      environment: describeMachine,
      ...{ onEvent, signal },
    }),
  );
  print(`\n${frontierTerminal(report, terminal.styles)}\n`);
  print(`Report       ${join(options.output, artefactNames.frontierMarkdown)}`);
  printJson({ output: options.output, peakMemoryBytes: peakMemoryBytes(), report });
}
