import { KvlrError, type KvlrErrorCode } from '@kvlr/core';
import type { Terminal } from './terminal.ts';

/** Errors that only another command line mends: what was typed is unknown, or does not fit the model. */
const wrongUsage: KvlrErrorCode[] = ['usage', 'heads-not-divisible', 'invalid-argument'];

/** Exit code of an error: 2 for a command that was typed wrongly, 130 after Ctrl-C, else 1. */
export function exitCodeOf(error: unknown): number {
  if (!KvlrError.isInstance(error)) return 1;
  if (wrongUsage.includes(error.code)) return 2;
  return error.code === 'aborted' ? 130 : 1;
}

/** What happened, how to mend it, and the code; the stack only when asked for. */
export function formatError(error: unknown, verbose: boolean, colors: Terminal['colors']): string {
  const lines = [`${colors.red('error')}  ${messageOf(error)}`];
  if (KvlrError.isInstance(error)) {
    if (error.hint) lines.push(`${colors.cyan('mend')}   ${error.hint}`);
    lines.push(`${colors.dim('code')}   ${error.code}`);
  } else {
    lines.push(`${colors.cyan('mend')}   This is a defect of kvlr: please report it with the output of --verbose.`);
  }
  if (verbose && error instanceof Error && error.stack) {
    lines.push(error.stack);
    if (error.cause instanceof Error && error.cause.stack) lines.push(`Caused by: ${error.cause.stack}`);
  }
  return `${lines.join('\n')}\n`;
}

/** The message, without the name of the function that libraries put before it: 'openCheckpoint: expected ...'. */
function messageOf(error: unknown): string {
  if (!KvlrError.isInstance(error)) return error instanceof Error ? error.message : String(error);
  return error.message.replace(/^\w+(\.\w+)?: /, '');
}

/** The same for machines. */
export function errorToJson(error: unknown): Record<string, unknown> {
  if (KvlrError.isInstance(error)) {
    return { error: { code: error.code, message: error.message, hint: error.hint, data: error.data } };
  }
  return { error: { code: 'internal', message: error instanceof Error ? error.message : String(error) } };
}
