import {
  type CacheSize,
  type EvaluationResult,
  KvlrError,
  type Measurement,
  type PartOfWindows,
  type WindowScores,
} from '@kvlr/core';

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
    part?: PartOfWindows;
    windows?: WindowScores;
    cache: CacheSize;
  };
}

/** Raised whenever the same model and text would give another number. */
const taskVersion = 1;

export interface HarnessSettings {
  /** Name of the group; the task of a source is `${taskName}_${source}`. Default 'kvlr_texts'. */
  taskName?: string;
  /** When the evaluation ran. */
  date?: Date;
}

/** One model's evaluation in the shape of lm-evaluation-harness's results files. `fromHarnessJson` reads it back. */
export function toHarnessJson(result: EvaluationResult, settings: HarnessSettings = {}): HarnessResults {
  const group = settings.taskName ?? 'kvlr_texts';
  const tokensPerWindow = result.windowLength - 1;
  const { againstBase } = result;
  const groupMetrics = taskMetrics(group, group, result.windowCount, {
    perplexity: result.perplexity,
    ...(againstBase && {
      base_perplexity: againstBase.basePerplexity,
      kl_divergence: againstBase.klDivergence,
      top_one_agreement: againstBase.topOneAgreement,
      perplexity_ratio: againstBase.perplexityRatio,
    }),
  });
  const subtasks = Object.entries(result.perplexityBySource).map(([source, perplexity]) => {
    const windows = (perplexity.tokenCount ?? 0) / tokensPerWindow;
    return taskMetrics(`${group}_${source}`, ` - ${source}`, windows, { perplexity });
  });
  const tasks = [groupMetrics, ...subtasks];
  const forEachTask = <Value>(value: (task: HarnessTaskMetrics) => Value): Record<string, Value> =>
    Object.fromEntries(tasks.map((task) => [task.name, value(task)]));
  return {
    results: forEachTask((task) => task),
    groups: { [group]: groupMetrics },
    group_subtasks: { [group]: subtasks.map(({ name }) => name) },
    configs: forEachTask(({ name }) => ({
      task: name,
      output_type: 'loglikelihood_rolling',
      num_fewshot: 0,
      window_length: result.windowLength,
    })),
    versions: forEachTask(() => taskVersion),
    'n-shot': forEachTask(() => 0),
    higher_is_better: forEachTask((task) => higherIsBetter(task)),
    'n-samples': forEachTask(({ sample_len }) => ({ original: sample_len, effective: sample_len })),
    config: { model: 'kvlr', model_args: { pretrained: result.modelId, window_length: result.windowLength } },
    ...(settings.date && { date: settings.date.getTime() / 1000 }),
    model_source: 'kvlr',
    model_name: result.modelId,
    model_name_sanitized: result.modelId.replace(/[^a-zA-Z0-9._-]/g, '__'),
    kvlr: {
      ...(againstBase && { base_model_name: againstBase.baseModelId }),
      window_length: result.windowLength,
      token_count: result.tokenCount,
      ...(result.part && { part: result.part }),
      ...(result.windows && { windows: result.windows }),
      cache: result.cache,
    },
  };
}

function taskMetrics(
  name: string,
  alias: string,
  windows: number,
  measurements: Record<string, Measurement>,
): HarnessTaskMetrics {
  const metrics = Object.entries(measurements).map(([key, measurement]) => metric(key, measurement));
  return Object.assign({ name, alias, sample_len: windows }, ...metrics);
}

function metric(name: string, measurement: Measurement): Record<`${string},none`, number | 'N/A'> {
  const metrics: Record<`${string},none`, number | 'N/A'> = {};
  metrics[`${name},none`] = measurement.value;
  metrics[`${name}_stderr,none`] = measurement.standardError ?? 'N/A';
  return metrics;
}

function higherIsBetter(task: HarnessTaskMetrics): Record<string, boolean> {
  const names = Object.keys(task).filter((key) => key.endsWith(',none') && !key.endsWith('_stderr,none'));
  return Object.fromEntries(
    names.map((key) => [key.slice(0, -',none'.length), key === 'top_one_agreement,none'] as const),
  );
}

/**
 * Reads back what `toHarnessJson` wrote, losslessly for every result of `evaluate`.
 * Throws 'file-malformed' for anything else, naming the field that is missing.
 */
export function fromHarnessJson(json: unknown): EvaluationResult {
  const file = json as Partial<HarnessResults> | null | undefined;
  const [group, subtasks] = Object.entries(required(file?.group_subtasks, 'group_subtasks'))[0] ?? [];
  const details = required(file?.kvlr, 'kvlr');
  const results = required(file?.results, 'results');
  const groupName = required(group, 'group_subtasks');
  const groupMetrics = required(results[groupName], `results.${groupName}`);
  const tokensPerWindow = details.window_length - 1;
  const sources = required(subtasks, 'group_subtasks').map((task) => {
    const source = task.slice(groupName.length + 1);
    return [source, measurement(required(results[task], `results.${task}`), 'perplexity', tokensPerWindow)] as const;
  });
  const overall = (name: string) => measurement(groupMetrics, name, tokensPerWindow);
  return {
    modelId: required(file?.model_name, 'model_name'),
    tokenCount: details.token_count,
    windowCount: groupMetrics.sample_len,
    windowLength: details.window_length,
    perplexity: overall('perplexity'),
    perplexityBySource: Object.fromEntries(sources),
    againstBase:
      details.base_model_name === undefined
        ? undefined
        : {
            baseModelId: details.base_model_name,
            basePerplexity: overall('base_perplexity'),
            klDivergence: overall('kl_divergence'),
            topOneAgreement: overall('top_one_agreement'),
            perplexityRatio: overall('perplexity_ratio'),
          },
    ...(details.part && { part: details.part }),
    ...(details.windows && { windows: details.windows }),
    cache: details.cache,
  };
}

function measurement(task: HarnessTaskMetrics, name: string, tokensPerWindow: number): Measurement {
  const value = task[`${name},none`];
  const standardError = task[`${name}_stderr,none`];
  if (typeof value !== 'number') throw malformed(`results.${task.name}."${name},none"`);
  return {
    value,
    standardError: typeof standardError === 'number' ? standardError : undefined,
    tokenCount: task.sample_len * tokensPerWindow,
  };
}

function required<Value>(value: Value | undefined, field: string): Value {
  if (value === undefined) throw malformed(field);
  return value;
}

function malformed(field: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected a results file written by kvlr, got one without ${field}`,
    hint: 'Pass the results.json of a kvlr evaluation.',
    data: { field },
  });
}
