import type { TaskDefinition, TaskGroup } from '../definition/read-task.ts';
import type { MetricName } from '../definition/task-fields.ts';
import { aggregate, aggregations, type MetricEstimate, type MetricPart } from '../scoring/metrics.ts';
import type { TaskSample } from '../scoring/run-task.ts';

/** Everything that one model was asked in one task. */
export interface TaskResult {
  definition: TaskDefinition;
  samples: TaskSample[];
  /** Documents that there are; fewer were asked about with a limit. */
  documentCount: number;
  numFewshot: number;
}

/** Metrics of a task: "metric,filter" and "metric_stderr,filter" keys, "N/A" for an unknown error. */
interface TaskMetrics {
  name: string;
  alias: string;
  sample_len: number;
  [metric: string]: number | string;
}

/**
 * The results file of EleutherAI's lm-evaluation-harness (lm_eval/result_schema.py, `EvalResults`) for tasks; what it has no place for is
 * under `kvlr`.
 */
export interface TaskResultsFile {
  results: Record<string, TaskMetrics>;
  groups?: Record<string, TaskMetrics>;
  group_subtasks: Record<string, string[]>;
  configs: Record<string, unknown>;
  versions: Record<string, number | null>;
  'n-shot': Record<string, number>;
  higher_is_better: Record<string, Record<string, boolean>>;
  'n-samples': Record<string, { original: number; effective: number }>;
  config: Record<string, unknown>;
  date?: number;
  task_hashes?: Record<string, string>;
  model_source: string;
  model_name: string;
  model_name_sanitized: string;
  kvlr?: Record<string, unknown>;
}

export interface TaskResultsSettings {
  modelId: string;
  /** Name of the model for people. */
  modelName: string;
  groups?: readonly TaskGroup[];
  limit?: number | undefined;
  date?: Date | undefined;
  taskHashes?: Record<string, string>;
  details?: Record<string, unknown>;
}

/** Parts of one metric of one filter, in the order of the documents. */
export function partsOf(result: TaskResult, metric: MetricName, filter: string): MetricPart[] {
  return result.samples.map(({ byFilter }) => byFilter.find((one) => one.filter === filter)!.parts[metric]!);
}

/** One metric of a task under one filter. */
interface TaskMetric {
  metric: MetricName;
  filter: string;
  higherIsBetter: boolean;
  estimate: MetricEstimate;
}

/** Every metric of a task under every filter. */
export function metricsOf(result: TaskResult): TaskMetric[] {
  const filters = result.samples[0]?.byFilter.map(({ filter }) => filter) ?? [];
  return filters.flatMap((filter) =>
    result.definition.fields.metric_list.map(({ metric }) => ({
      metric,
      filter,
      higherIsBetter: aggregations[metric].higherIsBetter,
      estimate: aggregate(metric, partsOf(result, metric, filter)),
    })),
  );
}

/** Results of tasks in the harness's form. */
export function taskResultsFile(results: readonly TaskResult[], settings: TaskResultsSettings): TaskResultsFile {
  const { modelId, modelName, groups = [], limit, date, taskHashes, details } = settings;
  const forEach = <Value>(value: (result: TaskResult) => Value): Record<string, Value> =>
    Object.fromEntries(results.map((result) => [result.definition.fields.task, value(result)]));
  const groupMetrics = Object.fromEntries(
    groups.map((group) => [group.fields.group, metricsOfGroup(group, results)] as const),
  );
  return {
    results: { ...groupMetrics, ...forEach(metricsOfTask) },
    ...(groups.length > 0 && { groups: groupMetrics }),
    group_subtasks: {
      ...Object.fromEntries(groups.map((group) => [group.fields.group, group.tasks.map(({ fields }) => fields.task)])),
      ...forEach(() => []),
    },
    configs: forEach(({ definition }) => definition.fields),
    versions: {
      ...Object.fromEntries(groups.map(({ fields }) => [fields.group, fields.metadata?.version ?? null])),
      ...forEach(({ definition }) => definition.fields.metadata?.version ?? null),
    },
    'n-shot': forEach(({ numFewshot }) => numFewshot),
    higher_is_better: forEach(({ definition }) =>
      Object.fromEntries(
        definition.fields.metric_list.map(({ metric }) => [metric, aggregations[metric].higherIsBetter]),
      ),
    ),
    'n-samples': forEach(({ samples, documentCount }) => ({ original: documentCount, effective: samples.length })),
    config: { model: 'kvlr', model_args: { pretrained: modelId }, limit: limit ?? null },
    ...(date && { date: date.getTime() / 1000 }),
    ...(taskHashes && { task_hashes: taskHashes }),
    model_source: 'kvlr',
    model_name: modelName,
    model_name_sanitized: modelName.replace(/[^a-zA-Z0-9._-]/g, '__'),
    ...(details && { kvlr: details }),
  };
}

function metricsOfTask(result: TaskResult): TaskMetrics {
  const { task, task_alias: alias = task } = result.definition.fields;
  const metrics: TaskMetrics = { name: task, alias, sample_len: result.samples.length };
  for (const { metric, filter, estimate } of metricsOf(result)) addMetric(metrics, metric, filter, estimate);
  return metrics;
}

function addMetric(metrics: TaskMetrics, metric: string, filter: string, estimate: MetricEstimate): void {
  metrics[`${metric},${filter}`] = estimate.value;
  metrics[`${metric}_stderr,${filter}`] = estimate.standardError ?? 'N/A';
}

/**
 * Means over a group's tasks, weighted by their documents or equal, with the harness's pooled standard error
 * (`pooled_sample_stderr`): that of all documents together.
 */
function metricsOfGroup({ fields, tasks }: TaskGroup, results: readonly TaskResult[]): TaskMetrics {
  const members = results.filter(({ definition }) => tasks.some((task) => task.fields.task === definition.fields.task));
  const sample = members.reduce((sum, { samples }) => sum + samples.length, 0);
  const metrics: TaskMetrics = { name: fields.group, alias: fields.group_alias ?? fields.group, sample_len: sample };
  for (const { metric, weight_by_size: weighted } of fields.aggregate_metric_list ?? []) {
    const ofMembers = members.flatMap((member) => {
      const found = metricsOf(member).find((one) => one.metric === metric);
      return found ? [{ ...found.estimate, size: member.samples.length, filter: found.filter }] : [];
    });
    if (ofMembers.length === 0) continue;
    const weights = ofMembers.map(({ size }) => (weighted ? size : 1));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const value = ofMembers.reduce((sum, one, place) => sum + one.value * weights[place]!, 0) / total;
    addMetric(metrics, metric, ofMembers[0]!.filter, { value, standardError: pooledError(ofMembers) });
  }
  return metrics;
}

function pooledError(members: readonly { size: number; standardError: number | undefined }[]): number | undefined {
  const documents = members.reduce((sum, { size }) => sum + size, 0);
  if (documents <= members.length || members.some(({ standardError }) => standardError === undefined)) return undefined;
  const variance = members.reduce((sum, { size, standardError }) => sum + (size - 1) * standardError! ** 2 * size, 0);
  return Math.sqrt(variance / (documents - members.length) / documents);
}
