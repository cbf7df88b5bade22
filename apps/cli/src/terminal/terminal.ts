import { text as readText } from 'node:stream/consumers';
import type { ArchitectureDescriptor } from '@kvlr/checkpoint';
import type { EventListener } from '@kvlr/core';
import type { TerminalStyles } from '@kvlr/report/terminal';
import pc from 'picocolors';

/** Where text goes, and whether a person watches. Tests pass their own. */
export interface Terminal {
  /** Results. With --json exactly one JSON document. */
  writeOut(text: string): void;
  /** Progress, notes, warnings and errors. */
  writeError(text: string): void;
  /** All that is piped into the program; undefined where a person sits at the keyboard. */
  readInput(): Promise<string | undefined>;
  /** True when stderr is a terminal: progress bars are drawn. */
  interactive: boolean;
  /** Characters in a line of help. */
  columns: number;
  /** Colours of what goes to stderr. */
  colors: ReturnType<typeof pc.createColors>;
  /** How results on stdout are stressed. */
  styles: TerminalStyles;
}

/** What every command works with. Made once per run of the program. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  readonly onEvent: EventListener;
  /** True with --json: results are printed with `printJson` instead of `print`. */
  readonly json: boolean;
  /** Model families besides the built-in ones: those of --architecture. */
  readonly architectures: ArchitectureDescriptor[];
  /** Writes a result for people; silent with --json. */
  print(text: string): void;
  /** Writes a result for machines; silent without --json. */
  printJson(value: unknown): void;
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const outColors = pc.createColors(pc.isColorSupported && process.stdout.isTTY === true);
  return {
    writeOut: (text) => process.stdout.write(text),
    writeError: (text) => process.stderr.write(text),
    readInput: async () => (process.stdin.isTTY ? undefined : readText(process.stdin)),
    interactive: process.stderr.isTTY === true,
    columns: helpColumns(process.env.COLUMNS, process.stdout.columns),
    colors: pc.createColors(pc.isColorSupported && process.stderr.isTTY === true),
    styles: { strong: outColors.bold, faint: outColors.dim },
  };
}

/** As wide as the terminal, or as COLUMNS says, within what is read with ease; 110 where nobody knows. */
export function helpColumns(asked: string | undefined, terminal: number | undefined): number {
  const columns = Number.parseInt(asked ?? '', 10) || terminal || 110;
  return Math.max(40, Math.min(columns, 140));
}

/**
 * Ends the program, as done, when nobody reads its output any more: `kvlr inspect | head -1` has what it wanted. Other errors of the
 * streams are thrown.
 */
export function exitOnClosedPipe(streams: readonly NodeJS.EventEmitter[], exit: (code: number) => void): void {
  for (const stream of streams) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      exit(0);
    });
  }
}
