import { loadArchitecture } from '@kvlr/pipeline/node';
import { Command } from 'commander';
import { version } from '../package.json';
import type { CommandContext } from './command-context.ts';
import { addBenchCommand } from './commands/bench.ts';
import { addCompareCommand } from './commands/compare.ts';
import { addCompressCommand } from './commands/compress.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addEvalCommand } from './commands/eval.ts';
import { addExportCommand } from './commands/export.ts';
import { addGenerateCommand } from './commands/generate.ts';
import { addInspectCommand } from './commands/inspect.ts';
import { addRecoverCommand } from './commands/recover.ts';

const description = `Makes the KV cache of a language model smaller.

A Hugging Face LLaMA-family checkpoint goes in; a checkpoint with fewer KV heads comes out, which any engine
with grouped-query attention loads, together with a report of what it cost and what it saves.
Without CKPT a small embedded model is used, so that everything works with no download.`;

const afterHelp = `
Examples:
  kvlr compress                                    the embedded model to half its KV heads, into ./kvlr-out
  kvlr compress ./Llama-3.2-1B -o ./small --keep 25%
  kvlr compress ./Llama-3.2-1B --dry-run           memory, disk and time it would take
  kvlr recover ./small --teacher ./Llama-3.2-1B    train the result back, end to end
  kvlr eval ./small --against ./Llama-3.2-1B       what it cost
  kvlr bench ./model --against ./small             what it gains
  kvlr export ./small --gguf small.gguf            for llama.cpp
  kvlr COMMAND --help                              the options of one command

Exit codes: 0 done, 1 failed, 2 wrong usage (an unknown command, option, name or value, or one that does not fit
the model), 130 stopped with Ctrl-C.`;

/** The command line: one file of ./commands for each command. */
export function createProgram(context: CommandContext): Command {
  const program = new Command('kvlr')
    .description(description)
    .version(version)
    .option('--json', 'print one JSON document on stdout; everything else goes to stderr')
    .option('--verbose', 'print the stack of an error')
    .option(
      '--architecture <file>',
      'a JSON file that describes a model family; may be given again',
      (file: string, earlier: string[] = []) => [...earlier, file],
    )
    .hook('preAction', async () => {
      const { architecture = [] } = program.opts<{ architecture?: string[] }>();
      context.architectures.push(...(await Promise.all(architecture.map(loadArchitecture))));
    })
    .configureHelp({ showGlobalOptions: true, helpWidth: 110 })
    .configureOutput({ writeOut: context.terminal.writeOut, writeErr: context.terminal.writeError, outputError() {} })
    .addHelpText('after', afterHelp)
    .exitOverride();
  addCompressCommand(program, context);
  addInspectCommand(program, context);
  addRecoverCommand(program, context);
  addEvalCommand(program, context);
  addCompareCommand(program, context);
  addGenerateCommand(program, context);
  addBenchCommand(program, context);
  addExportCommand(program, context);
  addDemoCommand(program, context);
  return program;
}
