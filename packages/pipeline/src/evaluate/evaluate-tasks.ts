import type { RunControl } from '@kvlr/core';
import {
  type AnswerStore,
  buildPrompts,
  countFewshot,
  runTask,
  type TaskDefinition,
  type TaskDocument,
  type TaskResult,
} from '@kvlr/tasks';
import { type AskedModel, askModel } from './task-stage.ts';

/** A task with its data. */
export interface LoadedTask {
  definition: TaskDefinition;
  documents: readonly TaskDocument[];
  /** Where examples are taken from; may be empty when none are asked for. */
  exampleDocuments: readonly TaskDocument[];
}

export interface TasksRequest extends AskedModel {
  tasks: readonly LoadedTask[];
  /** Examples before each question. Default: what each task says, or none. */
  numFewshot?: number | undefined;
  /** Seed by which examples are chosen. Default 1234, as in lm-evaluation-harness. */
  fewshotSeed?: number | undefined;
  /** Only so many first documents of each task: for trying things out, not for results. */
  limit?: number | undefined;
  /** Where answers are kept, so that a run that was cut goes on. */
  answers?: AnswerStore | undefined;
}

/**
 * Asks a model about tasks, float32 weights behind a cache of any dtype and window; the prompts are those of lm-evaluation-harness.
 * What `kvlr eval --tasks` does.
 *
 * @returns One result a task, in order.
 * @throws KvlrError what `buildPrompts` and `runTask` throw, 'backend-unavailable', 'memory-exceeded'.
 */
export async function evaluateTasks(request: TasksRequest): Promise<TaskResult[]> {
  const { tasks, numFewshot, fewshotSeed, limit, answers } = request;
  const prepared = tasks.map(({ definition, documents, exampleDocuments }) => {
    const { fields } = definition;
    const prompts = buildPrompts({ fields, documents, exampleDocuments, numFewshot, fewshotSeed, limit });
    return { definition, prompts, documentCount: documents.length, numFewshot: countFewshot(fields, numFewshot) };
  });
  const asked = prepared.reduce((sum, { prompts }) => sum + prompts.length, 0);
  const names = prepared.map(({ definition }) => definition.fields.task).join(', ');
  const title = `${asked.toLocaleString('en-US')} documents of ${names}`;
  return askModel(request, title, async ({ taskModel: model, tokenizer, modelKey }) => {
    const results: TaskResult[] = [];
    let before = 0;
    for (const { definition, prompts, ...counts } of prepared) {
      const control = countOn(request, before, asked);
      const run = { ...control, fields: definition.fields, prompts, model, modelKey, tokenizer, answers };
      results.push({ definition, samples: await runTask(run), ...counts });
      before += prompts.length;
    }
    return results;
  });
}

/** A control whose progress goes on behind the documents that are done, of all that were asked. */
function countOn({ onEvent, signal }: RunControl, before: number, total: number): RunControl {
  return {
    ...(signal && { signal }),
    onEvent: (event) =>
      onEvent?.(event.type === 'progress' ? { ...event, completed: before + event.completed, total } : event),
  };
}
