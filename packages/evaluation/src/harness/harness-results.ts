import type { CacheSize, WindowScores } from '@kvlr/core';

/** Metrics of one task: "metric,filter" keys with numbers, "N/A" for an unknown standard error. */
export interface HarnessTaskMetrics {
  name: string;
  alias: string;
  /** Windows behind the metrics. */
  sample_len: number;
  [metric: `${string},none`]: number | 'N/A';
}

/**
 * The results file of EleutherAI's lm-evaluation-harness (lm_eval/result_schema.py, `EvalResults`): one group of tasks, one task
 * for each source of text. What the schema has no place for is under `kvlr`.
 */
export interface HarnessResults {
  results: Record<string, HarnessTaskMetrics>;
  groups: Record<string, HarnessTaskMetrics>;
  group_subtasks: Record<string, string[]>;
  configs: Record<string, Record<string, string | number>>;
  versions: Record<string, number>;
  'n-shot': Record<string, number>;
  higher_is_better: Record<string, Record<string, boolean>>;
  'n-samples': Record<string, { original: number; effective: number }>;
  config: { model: string; model_args: Record<string, string | number> };
  /** UNIX time in seconds. */
  date?: number;
  model_source: string;
  model_name: string;
  model_name_sanitized: string;
  kvlr: {
    base_model_name?: string;
    window_length: number;
    token_count: number;
    windows?: WindowScores;
    cache: CacheSize;
  };
}
