import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeTaskCache, evaluateTasks, type LoadedTask, type TaskEvaluation, taskReport } from '@kvlr/pipeline';
import { formatBytes, taskHtml } from '@kvlr/report';
import { tasksTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { type HarnessSample, harnessSamples, type TaskResultsFile, taskHash, taskResultsFile } from '@kvlr/tasks';
import { loadDocuments, type OpenedTasks, openTasks } from '@kvlr/tasks/node';
import type { OpenedModel } from '../inputs/models.ts';
import { peakMemoryBytes, runtimeOf } from '../machine.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { type CacheOptions, conditionsOf } from './eval-conditions.ts';
import { openKeptAnswers } from './kept-answers.ts';

/** The options of `kvlr eval --tasks`. */
export interface TaskOptions extends CacheOptions {
  tasks?: string[];
  numFewshot?: number;
  limit?: number;
  output?: string;
}

/** Asks models about tasks, one condition after another, and writes what they say where that was asked for. */
export async function printTasks(
  models: readonly OpenedModel[],
  base: OpenedModel | undefined,
  options: TaskOptions,
  context: CommandContext,
): Promise<void> {
  const { numFewshot, limit, output } = options;
  const opened = await openTasks(options.tasks!);
  const tasks = await loadTasks(opened, options, context);
  await prepareNodeRuntime();
  const answers = output === undefined ? undefined : await openKeptAnswers(output, context);
  const evaluations: TaskEvaluation[] = [];
  try {
    for (const { name, checkpoint, cache } of await conditionsOf(models, base, options, context)) {
      const results = await evaluateTasks({
        ...{ model: checkpoint, tasks, cache, numFewshot, limit, answers },
        runtime: runtimeOf(options),
        onEvent: context.onEvent,
        signal: context.signal,
      });
      evaluations.push({ name, shape: checkpoint.shape, cache, modelId: checkpoint.id, results });
    }
  } finally {
    await answers?.close();
  }
  const files: TaskResultsFile[] = [];
  for (const evaluation of evaluations) files.push(await resultsOf(evaluation, opened, options));
  const report = taskReport(evaluations, limit);
  context.print(`\n${report.title}\n`);
  context.print(tasksTerminal(report, context.terminal.styles));
  context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
  if (output !== undefined) {
    await writeFile(join(output, 'report.html'), taskHtml(report));
    context.print(`Results      ${output}\nReport       ${join(output, 'report.html')}`);
  }
  context.printJson(files.length === 1 ? files[0] : files);
}

async function loadTasks(
  opened: OpenedTasks,
  { numFewshot }: TaskOptions,
  context: CommandContext,
): Promise<LoadedTask[]> {
  const tasks: LoadedTask[] = [];
  for (const definition of opened.tasks) {
    const withExamples = (numFewshot ?? definition.fields.num_fewshot ?? 0) > 0;
    const { onEvent, signal } = context;
    tasks.push({ definition, ...(await loadDocuments(definition, withExamples, { onEvent, signal })) });
  }
  return tasks;
}

/** The results file of one model; with an output directory it is written there, with its samples. */
async function resultsOf(
  evaluation: TaskEvaluation,
  { groups }: OpenedTasks,
  { output, limit }: TaskOptions,
): Promise<TaskResultsFile> {
  const samples: [task: string, records: HarnessSample[]][] = [];
  for (const { definition, samples: asked } of evaluation.results) {
    samples.push([definition.fields.task, (await Promise.all(asked.map(harnessSamples))).flat()]);
  }
  const hashes = samples.map(async ([task, records]) => [task, await taskHash(records)] as const);
  const file = taskResultsFile(evaluation.results, {
    modelId: evaluation.modelId,
    modelName: evaluation.name,
    groups,
    limit,
    date: new Date(),
    taskHashes: Object.fromEntries(await Promise.all(hashes)),
    details: { cache: describeTaskCache(evaluation.cache) },
  });
  if (output === undefined) return file;
  const directory = join(output, file.model_name_sanitized);
  await mkdir(directory, { recursive: true });
  for (const [task, records] of samples) {
    const lines = records.map((record) => `${JSON.stringify(record)}\n`).join('');
    await writeFile(join(directory, `samples_${task.replace(/[^\w.-]/g, '_')}.jsonl`), lines);
  }
  await writeFile(join(directory, 'results.json'), `${JSON.stringify(file, undefined, 2)}\n`);
  return file;
}
