import type { Checkpoint, RunControl } from '@kvlr/core';
import { type BackendRequest, type CacheSettings, loadModel, selectBackend } from '@kvlr/runtime';
import {
  type AnswerStore,
  buildPrompts,
  countFewshot,
  runTask,
  type TaskDefinition,
  type TaskDocument,
  type TaskResult,
} from '@kvlr/tasks';
import { CachedTaskModel } from '../models/task-model.ts';
import { RunContext } from '../run/context.ts';
import { MemoryRunStore } from '../run/store.ts';

/** A task with its data. */
export interface LoadedTask {
  definition: TaskDefinition;
  documents: readonly TaskDocument[];
  /** Where examples are taken from; may be empty when none are asked for. */
  exampleDocuments: readonly TaskDocument[];
}

/** How the cache is kept while a task is answered. */
export type TaskCache = Pick<CacheSettings, 'dtype' | 'window' | 'sinks'>;

export interface TasksRequest extends RunControl {
  model: Checkpoint;
  tasks: readonly LoadedTask[];
  cache?: TaskCache;
  /** Examples before each question. Default: what each task says, or none. */
  numFewshot?: number | undefined;
  /** Seed by which examples are chosen. Default 1234, as in lm-evaluation-harness. */
  fewshotSeed?: number | undefined;
  /** Only so many first documents of each task: for trying things out, not for results. */
  limit?: number | undefined;
  runtime?: Omit<BackendRequest, 'onEvent'>;
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
  const { model, tasks, cache = {}, numFewshot, fewshotSeed, limit, answers } = request;
  const prepared = tasks.map(({ definition, documents, exampleDocuments }) => {
    const { fields } = definition;
    const prompts = buildPrompts({ fields, documents, exampleDocuments, numFewshot, fewshotSeed, limit });
    return { definition, prompts, documentCount: documents.length, numFewshot: countFewshot(fields, numFewshot) };
  });
  const tokenizer = await model.tokenizer();
  const { backend } = await selectBackend({ ...request.runtime, onEvent: request.onEvent });
  const modelKey = JSON.stringify([model.id, backend, cache.dtype ?? 'f32', cache.window, cache.sinks]);
  const asked = prepared.reduce((sum, { prompts }) => sum + prompts.length, 0);
  const title = `${asked.toLocaleString('en-US')} documents of ${prepared.map(({ definition }) => definition.fields.task).join(', ')}`;
  return new RunContext(new MemoryRunStore(), request, false).stage('evaluation', title, async () => {
    const decoder = await loadModel(model, { backend, weights: 'f32', cache });
    try {
      const taskModel = await CachedTaskModel.create(decoder, tokenizer);
      const results: TaskResult[] = [];
      let before = 0;
      for (const { definition, prompts, ...counts } of prepared) {
        const control = countOn(request, before, asked);
        const run = { ...control, fields: definition.fields, prompts, model: taskModel, modelKey, tokenizer, answers };
        results.push({ definition, samples: await runTask(run), ...counts });
        before += prompts.length;
      }
      taskModel.dispose();
      return results;
    } finally {
      decoder.dispose();
    }
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
