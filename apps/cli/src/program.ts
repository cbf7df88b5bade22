import { Command } from 'commander';
import { version } from '../package.json';
import { fitHelp } from './terminal/fit-help.ts';
import type { CommandContext, Terminal } from './terminal/terminal.ts';

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

/** Gives a command its arguments, options, help and action. */
type Define = (command: Command, context: CommandContext) => void;

interface NamedCommand {
  description: string;
  /** What stands behind the name in the list of commands. */
  usage: string;
  /** Imported when the command is asked for: what it needs takes longer to load than the list of commands to print. */
  load(): Promise<{ define: Define }>;
  /** It speaks of all commands, which then have to be defined as well. */
  needsAll?: boolean;
}

const commands: Readonly<Record<string, NamedCommand>> = {
  compress: {
    description: 'give a model fewer KV heads: writes a checkpoint and a report of what it cost and saves',
    usage: '[options] [CKPT]',
    load: () => import('./commands/compress.ts'),
  },
  inspect: {
    description: 'what a checkpoint is: architecture, KV bytes per token, and how low-rank its caches are',
    usage: '[options] [CKPT]',
    load: () => import('./commands/inspect.ts'),
  },
  calibrate: {
    description: 'gather what compress begins with, all of it or a part: for several machines',
    usage: '[options] [CKPT]',
    load: () => import('./commands/calibrate.ts'),
  },
  merge: {
    description: 'merge what calibrate gathered in parts',
    usage: '[options] <DIR...>',
    load: () => import('./commands/merge.ts'),
  },
  recover: {
    description: 'train a compressed checkpoint back towards the model it was made from',
    usage: '[options] <CKPT>',
    load: () => import('./commands/recover.ts'),
  },
  eval: {
    description: 'perplexity of a checkpoint, and its distance from the model it was made from',
    usage: '[options] [CKPT]',
    load: () => import('./commands/eval.ts'),
  },
  compare: {
    description: 'methods at every ratio on one model, as one table and in order: what each would cost',
    usage: '[options] [CKPT]',
    load: () => import('./commands/compare.ts'),
  },
  generate: {
    description: 'continue a prompt, or answer it, token by token',
    usage: '[options] [CKPT]',
    load: () => import('./commands/generate.ts'),
  },
  bench: {
    description: 'time, bytes and dispatches of a model, beside one with fewer KV heads, in one run',
    usage: '[options] [CKPT]',
    load: () => import('./commands/bench.ts'),
  },
  export: {
    description: 'write a checkpoint in the format of another engine',
    usage: '[options] [CKPT]',
    load: () => import('./commands/export.ts'),
  },
  demo: {
    description:
      'serves the browser demo: the embedded model beside its compressed self, and models of your own compressed in the page',
    usage: '[options]',
    load: () => import('./commands/demo.ts'),
  },
  completion: {
    description: 'print what makes a shell complete kvlr: commands, options, names',
    usage: '<bash|zsh|fish>',
    load: () => import('./commands/completion.ts'),
    needsAll: true,
  },
};

/**
 * The command line: one file of ./commands for each command.
 *
 * @param openContext Called once, for the command that is asked for.
 */
export function createProgram(terminal: Terminal, openContext: () => Promise<CommandContext>): Command {
  let context: CommandContext;
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
    .hook('preSubcommand', async (_, command) => {
      context = await openContext();
      const needed = commands[command.name()]!.needsAll ? program.commands : [command];
      for (const one of needed) (await commands[one.name()]!.load()).define(one, context);
    })
    .hook('preAction', async () => {
      const { architecture = [] } = program.opts<{ architecture?: string[] }>();
      if (architecture.length === 0) return;
      const { loadArchitecture } = await import('@kvlr/pipeline/node');
      context.architectures.push(...(await Promise.all(architecture.map(loadArchitecture))));
    })
    .configureHelp({
      showGlobalOptions: true,
      helpWidth: terminal.columns,
      // Wrapped beside long terms too, where a terminal is narrow.
      minWidthToWrap: 20,
      subcommandTerm: (command) => `${command.name()} ${commands[command.name()]?.usage ?? '[command]'}`,
    })
    .configureOutput({
      writeOut: (text) => terminal.writeOut(fitHelp(text, terminal.columns)),
      writeErr: terminal.writeError,
      outputError() {},
    })
    .addHelpText('after', afterHelp)
    .exitOverride();
  for (const [name, { description: text }] of Object.entries(commands)) program.command(name).description(text);
  return program;
}
