import { KvlrError } from '@kvlr/core';
import { CommanderError } from 'commander';
import { createProgram } from './program.ts';
import { errorToJson, exitCodeOf, formatError } from './terminal/errors.ts';
import type { EventRenderer } from './terminal/events.ts';
import type { CommandContext, Terminal } from './terminal/terminal.ts';

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
  const json = argumentList.includes('--json');
  // Made with the first command: what it needs takes longer to load than the list of commands to print.
  let renderer: EventRenderer | undefined;
  const openContext = async (): Promise<CommandContext> => {
    const { createEventRenderer } = await import('./terminal/events.ts');
    const { onEvent, stop } = createEventRenderer(terminal);
    renderer = { onEvent, stop };
    return {
      ...{ terminal, signal, json, onEvent, architectures: [] },
      print: (text) => {
        stop();
        if (!json) terminal.writeOut(`${text}\n`);
      },
      printJson: (value) => {
        if (json) terminal.writeOut(jsonText(value));
      },
    };
  };
  try {
    await createProgram(terminal, openContext).parseAsync(wordsOf(argumentList), { from: 'user' });
    return 0;
  } catch (caught) {
    renderer?.stop();
    if (caught instanceof CommanderError && caught.exitCode === 0) return 0;
    const error = caught instanceof CommanderError ? usageError(caught) : caught;
    const command = argumentList.find((word) => !word.startsWith('-')) ?? '';
    const verbose = argumentList.includes('--verbose');
    if (json) terminal.writeOut(jsonText(errorToJson(error, command)));
    terminal.writeError(formatError(error, { command, verbose, colors: terminal.colors }));
    return exitCodeOf(error);
  } finally {
    renderer?.stop();
  }
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/** 'kvlr' is 'kvlr --help', and 'kvlr help NAME' is 'kvlr NAME --help': a command is complete once it is loaded. */
function wordsOf([first, second, ...rest]: readonly string[]): string[] {
  if (first === undefined) return ['--help'];
  if (first === 'help') return second === undefined ? ['--help'] : [second, '--help', ...rest];
  return second === undefined ? [first] : [first, second, ...rest];
}

/** A command line that commander refused, as an error like every other. */
function usageError(error: CommanderError): KvlrError {
  return new KvlrError('usage', {
    message: error.message.replace(/^error: /, ''),
    hint: 'See kvlr --help, or kvlr COMMAND --help.',
    cause: error,
  });
}
