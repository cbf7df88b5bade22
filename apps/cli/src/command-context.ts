import type { ArchitectureDescriptor } from '@kvlr/checkpoint';
import type { EventListener } from '@kvlr/core';
import type { Terminal } from './terminal/terminal.ts';

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
