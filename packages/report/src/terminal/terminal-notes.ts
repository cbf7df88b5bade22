import { stripControlCharacters } from '../format/strip-control-characters.ts';
import { wrapText } from '../format/wrap-text.ts';
import type { TerminalStyles } from './terminal-styles.ts';

const columns = 92;

/** Sentences under a table as faint lines of at most 92 columns, without control sequences. */
export function terminalNotes(notes: readonly string[], styles: TerminalStyles): string[] {
  return notes.flatMap((note) => wrapText(stripControlCharacters(note), columns).map((line) => styles.faint(line)));
}
