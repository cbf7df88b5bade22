export { benchmarkTerminal } from './terminal/benchmark-terminal.ts';
export { cacheDtypesTerminal } from './terminal/cache-dtypes-terminal.ts';
export { comparisonTerminal } from './terminal/comparison-terminal.ts';
export { compressionTerminal } from './terminal/compression-terminal.ts';
export { evaluationTerminal } from './terminal/evaluation-terminal.ts';
export { spectraTerminal } from './terminal/spectra-terminal.ts';
export type { TerminalStyles } from './terminal/terminal-styles.ts';
