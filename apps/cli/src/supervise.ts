import { spawn } from 'node:child_process';
import type { KvlrErrorCode } from '@kvlr/core';

/** How long the current step may still take after a signal: some run for seconds, and hear nothing meanwhile. */
const defaultPatience = 500;
/**
 * Settings of glibc's malloc, which other systems do not read: arrays of a megabyte or more lie in memory of their own and go back to the
 * system when they are freed. As it is, it learns from large ones to keep those of up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD), and a
 * program that passes many windows holds two or three times what it uses.
 */
const memorySettings = { MALLOC_MMAP_THRESHOLD_: '1048576' };
/** Of what native code writes, so much is kept, for an end that it explains. */
const keptCharacters = 4000;

/**
 * Runs a program of Node in a process of its own, on the terminal of this one. The first SIGINT or SIGTERM asks it to stop after the
 * current step, and ends it where that takes too long; the second ends it at once. Whatever a run has finished is on disk already, so
 * that nothing is lost by it. What libraries of native code write to stderr is shown only where the program does not end as it should.
 *
 * @param patience How long the program may take to stop by itself, in milliseconds.
 * @returns The exit code: that of the program, or 130 when it had to be ended.
 */
export async function supervise(
  program: string,
  argumentList: readonly string[],
  patience = defaultPatience,
): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, program, ...argumentList], {
    stdio: ['inherit', 'inherit', 'pipe', 'ipc', 2],
    env: { ...memorySettings, ...process.env },
  });
  let native = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    native = (native + text).slice(-keptCharacters);
  });
  const end = () => child.kill('SIGKILL');
  let timer: NodeJS.Timeout | undefined;
  const hear = () => {
    if (timer !== undefined) return end();
    timer = setTimeout(end, patience);
    // What will be said at the end is loaded while nothing else is to be done.
    void loadWords();
    // It may have ended by itself meanwhile.
    return child.send('stop', () => undefined);
  };
  process.on('SIGINT', hear).on('SIGTERM', hear);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject).once('close', (...ended) => resolve(ended));
  });
  clearTimeout(timer);
  process.off('SIGINT', hear).off('SIGTERM', hear);
  if (code !== null && native.includes('\n    at ')) process.stderr.write(native);
  if (code !== null) return code;
  if (timer === undefined) {
    process.stderr.write(native);
    return tell(argumentList, 'worker-failed', `the work was ended from outside, by ${signal}`, memoryHint);
  }
  return tell(argumentList, 'aborted', 'The work was stopped before it was done.');
}

const memoryHint =
  'Where memory runs out, systems end what takes most of it: --dry-run says what a command needs. What was finished is kept.';

/** What errors are said with; a program that goes well never loads it. */
const loadWords = () =>
  Promise.all([import('@kvlr/core'), import('./terminal/errors.ts'), import('./terminal/terminal.ts')]);

/** Says how it ended, as the program itself would have. Returns the exit code. */
async function tell(
  argumentList: readonly string[],
  code: KvlrErrorCode,
  message: string,
  hint?: string,
): Promise<number> {
  const [{ KvlrError }, { errorToJson, exitCodeOf, formatError }, { processTerminal }] = await loadWords();
  const { colors, writeError, writeOut } = processTerminal();
  const command = argumentList.find((word) => !word.startsWith('-')) ?? '';
  const error = new KvlrError(code, { message, ...(hint && { hint }) });
  if (argumentList.includes('--json')) writeOut(`${JSON.stringify(errorToJson(error, command), undefined, 2)}\n`);
  writeError(`\n${formatError(error, { command, verbose: false, colors })}`);
  return exitCodeOf(error);
}
