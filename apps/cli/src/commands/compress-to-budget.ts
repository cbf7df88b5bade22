import { KvlrError } from '@kvlr/core';
import { type CacheEngineName, headsRows } from '@kvlr/pipeline';
import { planCacheToDirectory } from '@kvlr/pipeline/node';
import { cachePlanTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { locationOf, type OpenedModel } from '../inputs/models.ts';
import { loadPlugins, loadRecipe, type RecipeOptions } from '../inputs/recipes.ts';
import { loadRunTexts, type TextOptions } from '../inputs/texts.ts';
import { runtimeOf, withWorkers } from '../machine.ts';
import type { ComputeOptions } from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';

/** The options of `compress` that ask for a budget of bytes instead of a number of heads. */
export interface BudgetOptions {
  cacheBytes?: number;
  context?: number;
  memory?: number;
  for: CacheEngineName;
  planWindows: number;
}

/** Whether the options ask for a budget of bytes. Throws KvlrError 'usage' where they ask for half of one. */
export function asksForBudget({ cacheBytes, memory, context, kvHeads, keep }: BudgetOptions & RecipeOptions): boolean {
  if (cacheBytes === undefined && memory === undefined) {
    if (context === undefined) return false;
    throw unclear('--memory or --cache-bytes', '--context alone', 'For example --context 32k --memory 2GB.');
  }
  if (cacheBytes !== undefined && memory !== undefined) {
    throw unclear('one of --cache-bytes and --memory', 'both', 'Leave one of them out.');
  }
  if (memory !== undefined && context === undefined) {
    throw unclear('--context with --memory', 'none', 'Say how many tokens the memory is to hold: --context 32k.');
  }
  if (kvHeads === undefined && keep === undefined) return true;
  throw unclear('a budget or a number of heads', 'both', 'Leave --kv-heads and --keep out: the budget decides.');
}

/**
 * Chooses heads and cache, prints why, and says how many heads to compress to: undefined where the weights stay as they are.
 *
 * @returns Options that compress to the chosen heads.
 */
export async function planBudget(
  model: OpenedModel,
  options: BudgetOptions & RecipeOptions & TextOptions & ComputeOptions & { output: string },
  context: CommandContext,
): Promise<Pick<RecipeOptions, 'kvHeads' | 'headWidth'> | undefined> {
  const { shape } = model.checkpoint;
  const loaded = await loadRecipe({ headWidth: 'auto', ...options, recover: 'none' }, shape.headDim);
  const recipe = { ...loaded, evaluation: { ...loaded.evaluation, windowsPerSource: options.planWindows } };
  const { numKeyValueHeads } = shape;
  const ratios = Array.from({ length: numKeyValueHeads - 1 }, (_, i) => (i + 1) / numKeyValueHeads)
    .filter((share) => Number.isInteger(1 / share))
    .reverse();
  const rows = headsRows({ model: model.checkpoint, recipe, ...(await loadPlugins(recipe)), ratios });
  const texts = await loadRunTexts(options);
  await prepareNodeRuntime();
  const { plan, row } = await withWorkers(options.workers, model.checkpoint, (workers) =>
    planCacheToDirectory({
      model: model.checkpoint,
      modelName: model.name,
      modelLocation: locationOf(model),
      ...{ recipe, texts, rows, engine: options.for, context: options.context ?? shape.maxPositionEmbeddings },
      budget: options.memory === undefined ? { share: options.cacheBytes! } : { bytes: options.memory },
      runtime: { ...runtimeOf(options), workers },
      output: `${options.output.replace(/[/\\]+$/, '')}.plan`,
      onEvent: context.onEvent,
      signal: context.signal,
    }),
  );
  context.print(`\n${cachePlanTerminal(plan, context.terminal.styles)}\n`);
  if (row === undefined) {
    context.print('The weights stay as they are: no checkpoint is written.');
    context.printJson({ plan });
    return undefined;
  }
  const { keyValueHeads, headWidth } = row.entries;
  return { kvHeads: keyValueHeads, headWidth: { times: headWidth } };
}

function unclear(expected: string, received: string, hint: string): KvlrError {
  return new KvlrError('usage', { message: `expected ${expected}, got ${received}`, hint });
}
