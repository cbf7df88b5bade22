import type { EvaluationResult, Measurement } from '@kvlr/core';
import type { HarnessResults, HarnessTaskMetrics } from './harness-results.ts';

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
