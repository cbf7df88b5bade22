import { canonicalJson, mapInOrder, type RunControl, sha256, type Tokenizer } from '@kvlr/core';
import type { TaskFields } from '../definition/task-fields.ts';
import type { TaskPrompt } from '../prompts/prompts.ts';
import { filterAnswer, filtersOf } from './answers.ts';
import { encodeContinuation, encodeText, rollingWindows } from './encode-prompts.ts';
import { type MetricParts, scoreDocument, type TaskAnswer } from './metrics.ts';
import type { ScoredSequence, TaskModel } from './task-model.ts';

/** Port: answers that an earlier run gave, by a key of everything that they depend on. */
export interface AnswerStore {
  get(key: string): TaskAnswer | undefined;
  put(key: string, answer: TaskAnswer): Promise<void>;
}

export interface TaskRun extends RunControl {
  fields: TaskFields;
  prompts: readonly TaskPrompt[];
  model: TaskModel;
  /** Everything about the model that its answers depend on: id, cache, backend. */
  modelKey: string;
  tokenizer: Tokenizer;
  /** Where answers are kept, so that a run that was cut goes on. */
  answers?: AnswerStore | undefined;
}

/** One document with what the model answered and what it scores, by filter. */
export interface TaskSample {
  prompt: TaskPrompt;
  answer: TaskAnswer;
  byFilter: { filter: string; answer: TaskAnswer; parts: MetricParts }[];
}

/** The harness's default of tokens that an answer may have. */
const defaultAnswerTokens = 256;

/**
 * Asks a model about every document of a task. Documents are asked for in their order, so that few-shot examples, which neighbours
 * share, are run once.
 *
 * @returns Samples in the order of the prompts.
 * @throws KvlrError 'text-empty' for continuations without tokens, 'text-too-short' for answers longer than the context, 'aborted', and
 * what the model throws.
 */
export async function runTask(run: TaskRun): Promise<TaskSample[]> {
  const { fields, prompts, model, answers } = run;
  return mapInOrder({
    items: prompts,
    concurrency: model.concurrency ?? 1,
    signal: run.signal,
    work: async (prompt) => {
      const key = answers === undefined ? '' : await keyOf(run, prompt);
      let answer = answers?.get(key);
      if (answer === undefined) {
        answer = await ask(run, prompt);
        await answers?.put(key, answer);
      }
      return scoreAnswer(fields, prompt, answer);
    },
    onResult: (_, index) =>
      run.onEvent?.({
        type: 'progress',
        stage: 'evaluation',
        completed: index + 1,
        total: prompts.length,
        unit: 'documents',
        detail: fields.task,
      }),
  });
}

/** What a kept answer scores: scoring is done anew, so that a change of metric needs no model. */
function scoreAnswer(fields: TaskFields, prompt: TaskPrompt, answer: TaskAnswer): TaskSample {
  const byFilter = filtersOf(fields).map(({ name, filter }) => {
    const filtered: TaskAnswer =
      answer.type === 'text' ? { type: 'text', text: filterAnswer(answer.text, filter) } : answer;
    return { filter: name, answer: filtered, parts: scoreDocument(fields, prompt, filtered) };
  });
  return { prompt, answer, byFilter };
}

function keyOf({ fields, modelKey }: TaskRun, { question }: TaskPrompt): Promise<string> {
  return sha256(canonicalJson({ modelKey, question, generation: generationOf(fields) }));
}

function generationOf({ generation_kwargs: settings = {}, fewshot_delimiter: delimiter }: TaskFields) {
  const { until = [delimiter], max_gen_toks: maxNewTokens = defaultAnswerTokens } = settings;
  return { until: Array.isArray(until) ? until : [until], maxNewTokens };
}

async function ask({ fields, model, tokenizer }: TaskRun, { question }: TaskPrompt): Promise<TaskAnswer> {
  const { maxPositions } = model;
  if (question.type === 'generation') {
    const { until, maxNewTokens } = generationOf(fields);
    const room = Math.max(1, maxPositions - maxNewTokens);
    const promptIds = Int32Array.from(encodeText(question.context, tokenizer).slice(-room));
    return { type: 'text', text: await model.generate({ promptIds, until, maxNewTokens }) };
  }
  const sequences: ScoredSequence[] =
    question.type === 'rolling'
      ? rollingWindows(tokenizer.encode(question.text), tokenizer, maxPositions)
      : question.texts.map((text) => encodeContinuation(text, tokenizer, maxPositions));
  return { type: 'scores', scores: await model.score(sequences) };
}
