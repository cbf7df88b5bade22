import { stat } from 'node:fs/promises';
import { toHarnessJson } from '@kvlr/evaluation';
import { mergeResultFiles, mergeStatisticsDirectories } from '@kvlr/pipeline/node';
import { formatCount } from '@kvlr/report';
import { evaluationTerminal } from '@kvlr/report/terminal';
import type { Command } from 'commander';
import type { CommandContext } from '../terminal/terminal.ts';

interface MergeOptions {
  output: string;
  overwrite?: boolean;
}

const afterHelp = `
Merges what several machines did. Directories hold statistics that kvlr calibrate gathered in parts: their averages, weighted by tokens, go
where --output says. Files hold results of kvlr eval --part: their windows, put together, are printed as one evaluation. Either is what one
run over all windows would give.

Examples:
  kvlr merge part-* -o merged
  kvlr compress ./model -o ./small --statistics merged
  kvlr merge part-*.json`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<PART...>', 'directories of kvlr calibrate, or files of kvlr eval --part I/N --json')
    .option('-o, --output <dir>', 'where the merged statistics go', 'kvlr-statistics')
    .option('--overwrite', 'let other statistics there go')
    .addHelpText('after', afterHelp)
    .action(async (parts: string[], options: MergeOptions) => {
      if (await isFile(parts[0]!)) return printMerged(parts, context);
      const provenance = await mergeStatisticsDirectories(parts, options);
      const runs = provenance.runs?.length ?? 1;
      context.print(`Statistics  ${options.output}, of ${formatCount(provenance.tokenCount)} tokens in ${runs} runs`);
      context.printJson({ output: options.output, provenance });
    });
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ?? false;
}

async function printMerged(files: readonly string[], context: CommandContext): Promise<void> {
  const result = await mergeResultFiles(files);
  context.print(`\n${result.modelId}, in ${formatCount(files.length)} parts\n`);
  context.print(evaluationTerminal(result, context.terminal.styles));
  context.printJson(toHarnessJson(result, { date: new Date() }));
}
