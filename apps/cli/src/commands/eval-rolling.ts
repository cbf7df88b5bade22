import { compareRolling, evaluateRolling, type RollingEvaluation } from '@kvlr/pipeline';
import { formatBytes } from '@kvlr/report';
import { rollingTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { OpenedModel } from '../inputs/models.ts';
import { loadEvaluationTexts, type TextOptions } from '../inputs/texts.ts';
import { peakMemoryBytes, runtimeOf } from '../machine.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { type CacheOptions, conditionsOf } from './eval-conditions.ts';

/** The options of `kvlr eval --stride`. */
export interface RollingOptions extends CacheOptions, TextOptions {
  stride?: number;
  /** Tokens a window, the last of which is only predicted. */
  windowLength: number;
}

/** Perplexity of whole texts by tokens, words and bytes, of models and caches side by side. */
export async function printRolling(
  models: readonly OpenedModel[],
  base: OpenedModel | undefined,
  options: RollingOptions,
  context: CommandContext,
): Promise<void> {
  const texts = await loadEvaluationTexts(options);
  await prepareNodeRuntime();
  const rows: (RollingEvaluation & { name: string })[] = [];
  for (const { name, checkpoint, cache } of await conditionsOf(models, base, options, context)) {
    const evaluation = await evaluateRolling({
      ...{ model: checkpoint, cache, texts, windowLength: options.windowLength - 1, stride: options.stride },
      runtime: runtimeOf(options),
      onEvent: context.onEvent,
      signal: context.signal,
    });
    rows.push({ name, ...evaluation });
  }
  const compared = rows.map((row, place) => ({
    ...row,
    difference: place === 0 ? undefined : compareRolling(row, rows[0]!),
  }));
  context.print(`\n${rollingTerminal(compared, context.terminal.styles)}`);
  context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
  context.printJson(compared);
}
