import pc from 'picocolors';
import { expect } from 'vitest';
import { run } from '../../src/run.ts';

export interface CliOutcome {
  exitCode: number;
  /** What went to stdout and to stderr. */
  out: string;
  error: string;
}

/** Runs the program inside this process, as if without a terminal. */
export async function runCli(argumentList: readonly string[], signal?: AbortSignal): Promise<CliOutcome> {
  const outcome: CliOutcome = { exitCode: 0, out: '', error: '' };
  const plain = (text: string) => text;
  outcome.exitCode = await run(
    argumentList,
    {
      writeOut: (text) => {
        outcome.out += text;
      },
      writeError: (text) => {
        outcome.error += text;
      },
      interactive: false,
      colors: pc.createColors(false),
      styles: { strong: plain, faint: plain },
    },
    signal,
  );
  return outcome;
}

/** What the program prints with --json; it has to succeed. */
export async function runJson(argumentList: readonly string[]) {
  const outcome = await runCli([...argumentList, '--json']);
  expect(outcome.exitCode, outcome.error).toBe(0);
  return JSON.parse(outcome.out);
}
