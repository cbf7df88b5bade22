import { evaluateLongContext } from '@kvlr/pipeline';
import { formatBytes, type LongContextReport, type LongContextRow } from '@kvlr/report';
import { longContextTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { OpenedModel } from '../inputs/models.ts';
import { loadEvaluationTexts, type TextOptions } from '../inputs/texts.ts';
import { peakMemoryBytes, runtimeOf } from '../machine.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { type CacheOptions, conditionsOf } from './eval-conditions.ts';

/** The options of `kvlr eval --long-context`. */
export interface LongContextOptions extends CacheOptions, TextOptions {
  longContext?: boolean;
  lengths?: number[];
  probes?: number;
}

/** What models with their caches remember of long contexts. */
export async function printLongContext(
  models: readonly OpenedModel[],
  base: OpenedModel | undefined,
  options: LongContextOptions,
  context: CommandContext,
): Promise<void> {
  const texts = await loadEvaluationTexts(options);
  await prepareNodeRuntime();
  const rows: LongContextRow[] = [];
  for (const { name, checkpoint, cache } of await conditionsOf(models, base, options)) {
    const evaluation = await evaluateLongContext({
      ...{ model: checkpoint, cache, texts, settings: { lengths: options.lengths, probes: options.probes } },
      runtime: runtimeOf(options),
      onEvent: context.onEvent,
      signal: context.signal,
    });
    rows.push({ name, ...evaluation });
  }
  const report: LongContextReport = {
    title: 'Long contexts',
    rows,
    notes: [
      'All rows were asked the same. Copying: a passage of 24 tokens comes a second time behind the context; without memory of the first time the gain is 0. Needle: by chance 25%.',
    ],
  };
  context.print(`\n${longContextTerminal(report, context.terminal.styles)}`);
  context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
  context.printJson(report);
}
