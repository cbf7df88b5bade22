import type { PairedSpeedup, TimeSummary } from './benchmark-report.ts';
import type { RunEnvironment } from './run-environment.ts';

/** One engine on a model's weights. */
export interface EngineRow {
  /** Engine, device, threads. */
  engine: string;
  /** Which model: 'original', '1/4 of the KV heads'. */
  model: string;
  /** Element types of weights and cache. */
  dtypes: string;
  /** Tokens before the first timed one. */
  context: number;
  /** One token. Absent with a reason where the engine did not run. */
  step?: TimeSummary;
  /** Processor time of all threads for one token, milliseconds, a sample a round. */
  processor?: TimeSummary;
  tokensPerSecond?: number;
  /** Against the first row of the same model. */
  speedup?: PairedSpeedup;
  problem?: string;
}

/** Engines side by side in one run on the same weights. */
export interface EngineReport {
  title: string;
  rounds: number;
  rows: EngineRow[];
  environment: RunEnvironment;
  notes: string[];
}
