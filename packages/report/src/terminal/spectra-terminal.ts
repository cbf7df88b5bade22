import type { LayerSpectra } from '../documents/layer-spectra.ts';
import { describeEnergy, energyTable } from '../tables/energy-table.ts';
import { terminalNotes } from './terminal-notes.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';
import { terminalTable } from './terminal-table.ts';

/** Per layer, the share of the energy of keys and values that a quarter and a half of the directions hold, and effective ranks. */
export function spectraTerminal(spectra: readonly LayerSpectra[], styles: TerminalStyles = plainStyles): string {
  const table = energyTable(spectra);
  return [
    styles.strong(table.caption),
    '',
    terminalTable(table, styles),
    '',
    ...terminalNotes([describeEnergy(spectra)], styles),
  ].join('\n');
}
