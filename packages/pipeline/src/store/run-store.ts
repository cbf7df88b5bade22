/**
 * Port: where a run keeps what resuming needs. Names are relative paths with forward slashes, as listed in `artefactNames`.
 * A write replaces the whole entry at once: a reader sees the old bytes or the new ones.
 */
export interface RunStore {
  /** The bytes under this name; undefined when there are none. */
  read(name: string): Promise<Uint8Array | undefined>;
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Adds one line to a log. A line feed is appended. */
  appendLine(name: string, line: string): Promise<void>;
  /** Names of all entries. */
  list(): Promise<string[]>;
  /** Forgets everything under this name or, when it ends in '/', below it. */
  remove(name: string): Promise<void>;
}

/** The entries of a run, in the order in which they come to be. */
export const artefactNames = {
  recipe: 'recipe.yaml',
  events: 'events.jsonl',
  statistics: '1-statistics.safetensors',
  budgetLosses: 'budget/losses.json',
  budget: 'budget/layers.json',
  grouping: '2-grouping.json',
  factors: '3-factors.safetensors',
  recovery: '5-recovery/',
  distillation: '6-distillation/',
  evaluation: 'eval/results.json',
  reportData: 'report.json',
  reportHtml: 'report.html',
  reportMarkdown: 'report.md',
  comparisonBase: 'rows/original.json',
  comparisonData: 'comparison.json',
  comparisonHtml: 'comparison.html',
  comparisonMarkdown: 'comparison.md',
  comparisonPicture: 'comparison.svg',
} as const;
