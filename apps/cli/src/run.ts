import { KvlrError } from '@kvlr/core';
import { CommanderError } from 'commander';
import type { CommandContext } from './command-context.ts';
import { createProgram } from './program.ts';
import { errorToJson, exitCodeOf, formatError } from './terminal/format-error.ts';
import { createEventRenderer } from './terminal/render-events.ts';
import type { Terminal } from './terminal/terminal.ts';

/**
 * The whole program in one call: arguments without `node kvlr`, a terminal, a signal that stops the work.
 *
 * @returns The exit code: 0 done, 1 failed, 2 bad usage, 130 stopped.
 */
export async function run(
  argumentList: readonly string[],
  terminal: Terminal,
  signal: AbortSignal = new AbortController().signal,
): Promise<number> {
  const renderer = createEventRenderer(terminal);
  const json = argumentList.includes('--json');
  const context: CommandContext = {
    terminal,
    signal,
    json,
    onEvent: renderer.onEvent,
    architectures: [],
    print: (text) => {
      renderer.stop();
      if (!json) terminal.writeOut(`${text}\n`);
    },
    printJson: (value) => {
      if (json) terminal.writeOut(`${JSON.stringify(value, undefined, 2)}\n`);
    },
  };
  try {
    const words = argumentList.length === 0 ? ['--help'] : [...argumentList];
    await createProgram(context).parseAsync(words, { from: 'user' });
    return 0;
  } catch (caught) {
    renderer.stop();
    if (caught instanceof CommanderError && caught.exitCode === 0) return 0;
    const error = caught instanceof CommanderError ? usageError(caught) : caught;
    context.printJson(errorToJson(error));
    terminal.writeError(formatError(error, argumentList.includes('--verbose'), terminal.colors));
    return exitCodeOf(error);
  } finally {
    renderer.stop();
  }
}

/** A command line that commander refused, as an error like every other. */
function usageError(error: CommanderError): KvlrError {
  const unknownHelp = error.code === 'commander.help';
  return new KvlrError('usage', {
    message: unknownHelp ? 'help: expected the name of a command' : error.message.replace(/^error: /, ''),
    hint: 'See kvlr --help, or kvlr COMMAND --help.',
    cause: error,
  });
}
