import type { Measurement } from '@kvlr/core';

/** A model with a way of keeping its cache, as tasks were asked of it. */
export interface TaskCondition {
  /** For people: the model, and its cache where that is not float32 and whole. */
  name: string;
  /** Exact bytes of the cache behind 1,024 tokens. */
  cacheBytes: number;
}

/** One metric of one task, of every condition in their order. */
export interface TaskRow {
  task: string;
  version: number | undefined;
  filter: string;
  numFewshot: number;
  metric: string;
  higherIsBetter: boolean;
  /** Documents that were asked about. */
  documents: number;
  values: Measurement[];
  /** Differences from the first condition, paired over documents; the first condition's is undefined. */
  differences: (PairedTaskDifference | undefined)[];
}

/** A difference with its interval of 95 %. */
export interface PairedTaskDifference extends Measurement {
  interval?: readonly [low: number, high: number] | undefined;
}

/** A document on which two conditions say different things. */
export interface TaskDisagreement {
  task: string;
  /** Place of the document among those of its task. */
  document: number;
  /** End of the text before the answers. */
  context: string;
  expected: string;
  /** What every condition answered, in their order: a choice, or a text. */
  answers: string[];
}

/** What tasks say of models side by side; the first condition is what the others are compared with. */
export interface TaskReport {
  title: string;
  conditions: TaskCondition[];
  rows: TaskRow[];
  disagreements: TaskDisagreement[];
  /** Sentences that a reader has to know, such as that a limit was set. */
  notes: string[];
}
