import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { evaluateLongContext, type LongContextEvaluation } from '@kvlr/pipeline';
import { formatBytes, type LongContextReport, longContextMarkdown } from '@kvlr/report';
import { longContextTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { compareLongContexts } from '@kvlr/tasks';
import type { OpenedModel } from '../inputs/models.ts';
import { loadEvaluationTexts, type TextOptions } from '../inputs/texts.ts';
import { peakMemoryBytes, runtimeOf } from '../machine.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { type CacheOptions, conditionsOf } from './eval-conditions.ts';
import { openKeptAnswers } from './kept-answers.ts';

/** The options of `kvlr eval --long-context`. */
export interface LongContextOptions extends CacheOptions, TextOptions {
  longContext?: boolean;
  lengths?: number[];
  probes?: number;
  output?: string;
}

/** What models with their caches remember of long contexts. */
export async function printLongContext(
  models: readonly OpenedModel[],
  base: OpenedModel | undefined,
  options: LongContextOptions,
  context: CommandContext,
): Promise<void> {
  const { lengths, probes, output } = options;
  const texts = await loadEvaluationTexts(options);
  await prepareNodeRuntime();
  const answers = output === undefined ? undefined : await openKeptAnswers(output, context);
  const rows: (LongContextEvaluation & { name: string })[] = [];
  try {
    for (const { name, checkpoint, cache } of await conditionsOf(models, base, options, context)) {
      const evaluation = await evaluateLongContext({
        ...{ model: checkpoint, cache, texts, settings: { lengths, probes }, answers },
        runtime: runtimeOf(options),
        onEvent: context.onEvent,
        signal: context.signal,
      });
      rows.push({ name, ...evaluation });
    }
  } finally {
    await answers?.close();
  }
  const report: LongContextReport = {
    title: 'Long contexts',
    rows: rows.map(({ notes: _, ...row }, place) => ({
      ...row,
      change: place === 0 ? undefined : compareLongContexts(row, rows[0]!),
    })),
    notes: [
      'All rows were asked the same, and changes are paired: probe by probe, text by text. ± is one standard error. Copying: a passage of 24 tokens comes a second time behind the context; without memory of the first time the gain is 0. Needle: by chance 25%.',
      ...new Set(rows.flatMap(({ notes }) => notes)),
    ],
  };
  context.print(`\n${longContextTerminal(report, context.terminal.styles)}`);
  context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
  if (output !== undefined) {
    await writeFile(join(output, 'long-context.json'), `${JSON.stringify(report, undefined, 2)}\n`);
    await writeFile(join(output, 'long-context.md'), longContextMarkdown(report));
    context.print(`Results      ${join(output, 'long-context.md')}`);
  }
  context.printJson(report);
}
