import type { DecoderShape } from '@kvlr/core';
import type { TaskCondition, TaskDisagreement, TaskReport, TaskRow } from '@kvlr/report';
import { comparePaired, metricsOf, partsOf, type TaskAnswer, type TaskPrompt, type TaskResult } from '@kvlr/tasks';
import { hostMemoryNotes } from '../frontier/host-memory-note.ts';
import { type TaskCache, taskCacheBytes } from './task-cache.ts';

/** What one model, with its cache kept in one way, made of some tasks. */
export interface TaskEvaluation {
  /** For people. */
  name: string;
  /** Content hash of the model. */
  modelId: string;
  shape: DecoderShape;
  cache: TaskCache;
  results: readonly TaskResult[];
}

/** Documents on which answers differ that a report shows at most. */
const shownDisagreements = 12;
/** Tokens at which bytes of caches are compared. */
const reportedContext = 1024;
/** Characters of the text before them. */
const shownContext = 400;

/**
 * Tasks of models side by side, as a report: values with their errors, differences from the first paired over documents, and documents on
 * which they answer differently.
 */
export function taskReport(evaluations: readonly TaskEvaluation[], limit: number | undefined): TaskReport {
  const [first] = evaluations as [TaskEvaluation];
  const fewer = first.results.some(({ samples, documentCount }) => samples.length < documentCount);
  return {
    title: evaluations.map(({ name }) => name).join(' against '),
    conditions: evaluations.map(conditionOf),
    rows: first.results.flatMap((_, task) => rowsOf(evaluations, task)),
    disagreements: first.results.flatMap((_, task) => disagreementsOf(evaluations, task)).slice(0, shownDisagreements),
    notes: [
      ...(limit !== undefined && fewer
        ? [`Only the first ${limit} documents of each task were asked about: for trying things out, not for results.`]
        : []),
      ...(evaluations.length > 1 ? [`Differences are from ${first.name}, paired over documents.`] : []),
      ...evaluations.flatMap(({ name, shape, cache }) => hostMemoryNotes(shape, cache.named, reportedContext, name)),
      'Prompts, scores and standard errors of means are those of lm-evaluation-harness; perplexities have theirs by the delta method.',
    ],
  };
}

function conditionOf({ name, shape, cache }: TaskEvaluation): TaskCondition {
  return { name, cacheBytes: taskCacheBytes(shape, cache, reportedContext) };
}

function rowsOf(evaluations: readonly TaskEvaluation[], task: number): TaskRow[] {
  const results = evaluations.map((evaluation) => evaluation.results[task]!);
  const [first] = results as [TaskResult];
  const { fields } = first.definition;
  const parts = (result: TaskResult, row: ReturnType<typeof metricsOf>[number]) =>
    partsOf(result, row.metric, row.filter);
  return metricsOf(first).map((row, place) => ({
    task: fields.task,
    version: fields.metadata?.version,
    filter: row.filter,
    numFewshot: first.numFewshot,
    metric: row.metric,
    higherIsBetter: row.higherIsBetter,
    documents: first.samples.length,
    values: results.map((result) => metricsOf(result)[place]!.estimate),
    differences: results.map((result) =>
      result === first ? undefined : comparePaired(row.metric, parts(result, row), parts(first, row)),
    ),
  }));
}

function disagreementsOf(evaluations: readonly TaskEvaluation[], task: number): TaskDisagreement[] {
  const results = evaluations.map((evaluation) => evaluation.results[task]!);
  const [first] = results as [TaskResult];
  return first.samples.flatMap(({ prompt }, document) => {
    const answers = results.map((result) => describeAnswer(prompt, result.samples[document]!.answer));
    if (new Set(answers).size === 1 || answers[0] === undefined) return [];
    return [
      {
        task: first.definition.fields.task,
        document: prompt.documentIndex,
        context: contextOf(prompt).slice(-shownContext),
        expected: expectedOf(prompt),
        answers: answers as string[],
      },
    ];
  });
}

/** What a model would say: its text, or the choice that it finds likeliest; undefined where it is only asked how likely something is. */
function describeAnswer({ choices }: TaskPrompt, answer: TaskAnswer): string | undefined {
  if (answer.type === 'text') return answer.text;
  if (choices === undefined) return undefined;
  const values = answer.scores.map(({ logLikelihood }) => logLikelihood);
  return choices[values.indexOf(Math.max(...values))];
}

function contextOf({ question }: TaskPrompt): string {
  if (question.type === 'generation') return question.context;
  return question.type === 'rolling' ? '' : question.texts[0]!.context;
}

function expectedOf({ choices, gold, target }: TaskPrompt): string {
  return choices && gold ? gold.map((place) => choices[place]).join(' or ') : String(target);
}
