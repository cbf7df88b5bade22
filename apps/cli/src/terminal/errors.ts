import { KvlrError, type KvlrErrorCode } from '@kvlr/core';
import type { Terminal } from './terminal.ts';

/** Errors that only another command line helps against: what was typed is unknown, or does not fit the model. */
const wrongUsage: KvlrErrorCode[] = ['usage', 'heads-not-divisible', 'invalid-argument', 'memory-exceeded'];

/** Exit code of an error: 2 for a command that was typed wrongly, 130 after Ctrl-C, else 1. */
export function exitCodeOf(error: unknown): number {
  if (!KvlrError.isInstance(error)) return 1;
  if (wrongUsage.includes(error.code)) return 2;
  return error.code === 'aborted' ? 130 : 1;
}

type FlagHint = string | ((error: KvlrError, command: string) => string | undefined);

const runs = ['compress', 'recover', 'compare'];
const otherPlace = (command: string) => (command === 'export' ? 'choose another name' : 'choose another place with -o');
const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/**
 * Hints in the words of the command line. Libraries speak of arguments; here stands which option sets them, by the code of an
 * error, and where one code is not enough by 'code argument'. What is not here keeps the library's own hint.
 */
const flagHints: Readonly<Record<string, FlagHint>> = {
  aborted: (_, command) =>
    runs.includes(command)
      ? 'Finished stages, layers and rows are kept, and the last checkpoint of a distillation. Run the same command again: it goes on where it stopped.'
      : undefined,
  'disk-full': (_, command) =>
    runs.includes(command)
      ? 'Free some space, or choose another place with -o and --run; the same command then resumes.'
      : undefined,
  'file-exists': ({ data }, command) =>
    data.replaceable === false
      ? `${capital(otherPlace(command))}: --overwrite replaces only what kvlr has written.`
      : `Add --overwrite to replace it, or ${otherPlace(command)}.`,
  'heads-not-divisible keyValueHeads': ({ hint, data }) =>
    hint?.replace(
      /nearest is (\d+), (.*)\.$/,
      `nearest is --kv-heads ${data.nearest}, $2 (keyValueHeads in a recipe).`,
    ),
  'heads-not-divisible ratios': ({ hint, data }) =>
    Array.isArray(data.possible) && data.possible.length > 0
      ? hint?.replace(/\.$/, `; for example --ratios ${data.possible.slice(0, 2).join(',')}.`)
      : hint,
  'unsupported-feature coded':
    'Take a cache that kernels have, such as --cache int4 or channel-3, or --backend wasm. kvlr compare --bytes measures every codec and policy.',
  'invalid-argument headWidth': ({ hint }) => `${hint} --head-width 1x keeps the model's width.`,
  'invalid-argument statistics':
    'kvlr generate and kvlr eval --cache fit klt caches to the model, and kvlr compare --bytes measures them; elsewhere take channel-3, int4 or the like.',
  'invalid-argument teacher': 'Name the model that this checkpoint was compressed from with --teacher.',
  'recipe-invalid headWidth': 'Use --budget uniform, or --head-width 1x.',
  'recipe-invalid recovery': 'Ask for --distill light or full, for --recover light or full, or for both.',
  'run-mismatch': ({ data }, command) => {
    const place =
      command === 'compare' ? 'Choose another directory with -o' : 'Choose another run directory with --run';
    return data.replaceable === false ? `${place}.` : `${place}, or add --overwrite to let it go.`;
  },
  'text-too-short calibration text': ({ hint }) =>
    `${hint} --calibration names other texts, --recipe sets the windows.`,
  'text-too-short evaluation text': ({ hint }) => `${hint} --eval-text names other texts.`,
  'tokenizer-mismatch teacher': 'Name the model that this checkpoint was compressed from with --teacher.',
  'unknown-architecture': ({ hint }) =>
    hint?.replace('in an ArchitectureDescriptor', 'in a JSON file (--architecture FILE)'),
  'usage output': 'Choose another directory with -o.',
  'usage windowLength': ({ hint }) => `${hint} --window-length sets them.`,
  'worker-failed': 'Run with fewer --workers: each holds the model in memory of its own.',
};

/** How to go on, in the words of the command line; undefined where nobody knows. */
function hintOf(error: KvlrError, command: string): string | undefined {
  const { code, where } = error;
  const hint = flagHints[`${code} ${where.argument}`] ?? flagHints[code];
  return (typeof hint === 'function' ? hint(error, command) : hint) ?? error.hint;
}

/** What `formatError` is told besides the error. */
export interface ErrorSettings {
  /** Name of the command that failed. */
  command: string;
  /** Adds the stack. */
  verbose: boolean;
  colors: Terminal['colors'];
}

/** Where and what, how to go on, and the code. */
export function formatError(error: unknown, { command, verbose, colors }: ErrorSettings): string {
  const lines = [`${colors.red('error')}  ${error instanceof Error ? error.message : String(error)}`];
  if (KvlrError.isInstance(error)) {
    const hint = hintOf(error, command);
    if (hint) lines.push(`${colors.cyan('hint')}   ${hint}`);
    lines.push(`${colors.dim('code')}   ${error.code}`);
  } else {
    lines.push(`${colors.cyan('hint')}   This is a defect of kvlr: please report it with the output of --verbose.`);
  }
  if (verbose && error instanceof Error && error.stack) {
    lines.push(error.stack);
    if (error.cause instanceof Error && error.cause.stack) lines.push(`Caused by: ${error.cause.stack}`);
  }
  return `${lines.join('\n')}\n`;
}

/** The same for machines. */
export function errorToJson(error: unknown, command: string): Record<string, unknown> {
  if (KvlrError.isInstance(error)) {
    const { code, message, reason, where, data } = error;
    return { error: { code, message, reason, where, hint: hintOf(error, command), data } };
  }
  return { error: { code: 'internal', message: error instanceof Error ? error.message : String(error) } };
}
