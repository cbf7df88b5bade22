import { basename, extname } from 'node:path';
import type { WeightDtype } from '@kvlr/checkpoint';
import { writeGguf } from '@kvlr/checkpoint/node';
import { type Command, Option } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { withModel } from '../inputs/open-model.ts';
import { modelArgument, modelArgumentHelp } from '../options/shared-options.ts';

interface ExportOptions {
  gguf: string;
  dtype: WeightDtype;
  overwrite?: boolean;
}

const afterHelp = `
Examples:
  kvlr export --gguf reference.gguf
  kvlr export ./small --gguf small.gguf --dtype F16`;

export function addExportCommand(program: Command, context: CommandContext): void {
  program
    .command('export')
    .description('write a checkpoint in the format of another engine')
    .argument(modelArgument, modelArgumentHelp)
    .requiredOption('--gguf <file>', 'a GGUF file for llama.cpp')
    .addOption(
      new Option('--dtype <type>', 'element type of the matrices').choices(['F32', 'F16', 'BF16']).default('F32'),
    )
    .option('--overwrite', 'replace the file, once the new one is complete')
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: ExportOptions) => {
      await withModel(path, async ({ checkpoint }) => {
        const name = basename(options.gguf, extname(options.gguf));
        await writeGguf(options.gguf, checkpoint, checkpoint, {
          name,
          dtype: options.dtype,
          overwrite: options.overwrite,
          onEvent: context.onEvent,
          signal: context.signal,
        });
        context.print(`Wrote ${options.gguf} (${options.dtype}).`);
        context.printJson({ gguf: options.gguf, dtype: options.dtype });
      });
    });
}
