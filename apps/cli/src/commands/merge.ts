import { mergeStatisticsDirectories } from '@kvlr/pipeline/node';
import { formatCount } from '@kvlr/report';
import type { Command } from 'commander';
import type { CommandContext } from '../terminal/terminal.ts';

interface MergeOptions {
  output: string;
  overwrite?: boolean;
}

const afterHelp = `
Merges statistics that kvlr calibrate gathered in parts: averages, weighted by tokens, as one run over all windows would give them.

Examples:
  kvlr merge part-* -o merged
  kvlr compress ./model -o ./small --statistics merged`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<DIR...>', 'directories of kvlr calibrate')
    .option('-o, --output <dir>', 'where the merged statistics go', 'kvlr-statistics')
    .option('--overwrite', 'let other statistics there go')
    .addHelpText('after', afterHelp)
    .action(async (parts: string[], options: MergeOptions) => {
      const provenance = await mergeStatisticsDirectories(parts, options);
      const runs = provenance.runs?.length ?? 1;
      context.print(`Statistics  ${options.output}, of ${formatCount(provenance.tokenCount)} tokens in ${runs} runs`);
      context.printJson({ output: options.output, provenance });
    });
}
