import { sha256 } from '@kvlr/core';
import type { TaskPrompt } from '../prompts/prompts.ts';
import type { MetricPart } from '../scoring/metrics.ts';
import type { TaskSample } from '../scoring/run-task.ts';

/** A document's record in the samples files of lm-evaluation-harness (lm_eval/result_schema.py, `SampleResult`). */
export interface HarnessSample {
  doc_id: number;
  doc: Readonly<Record<string, unknown>>;
  target: unknown;
  arguments: unknown[];
  resps: unknown[];
  filtered_resps: unknown[];
  filter: string;
  metrics: string[];
  doc_hash: string;
  prompt_hash: string;
  target_hash: string;
  [metric: string]: unknown;
}

/** The records of one document, one for each filter. Hashes are those of the harness for the same document and prompt. */
export async function harnessSamples(sample: TaskSample): Promise<HarnessSample[]> {
  const { prompt, answer, byFilter } = sample;
  const hashes = {
    // Python's json.dumps(indent=2, ensure_ascii=False) of a document without floating-point numbers.
    doc_hash: await sha256(JSON.stringify(prompt.document, undefined, 2)),
    prompt_hash: await sha256(firstArgument(prompt)),
    target_hash: await sha256(pythonText(prompt.target)),
  };
  const responses = (given: typeof answer) =>
    given.type === 'text' ? [given.text] : given.scores.map((score) => [score.logLikelihood, score.isGreedy]);
  return byFilter.map(({ filter, answer: filtered, parts }) => ({
    doc_id: prompt.documentIndex,
    doc: prompt.document,
    target: prompt.target,
    arguments: argumentsOf(prompt),
    resps: responses(answer).map((response) => [response]),
    filtered_resps: responses(filtered),
    filter,
    metrics: Object.keys(parts),
    ...hashes,
    ...(parts as Record<string, MetricPart>),
  }));
}

function argumentsOf({ question }: TaskPrompt): unknown[] {
  if (question.type === 'generation') return [[question.context]];
  if (question.type === 'rolling') return [[question.text]];
  return question.texts.map(({ context, continuation }) => [context, continuation]);
}

function firstArgument({ question }: TaskPrompt): string {
  if (question.type === 'generation') return question.context;
  return question.type === 'rolling' ? question.text : question.texts[0]!.context;
}

/** Python's `str` of a target: a text, a whole number, or a list of these. */
function pythonText(target: unknown): string {
  if (!Array.isArray(target)) return String(target);
  return `[${target.map((one) => (typeof one === 'string' ? `'${one}'` : String(one))).join(', ')}]`;
}

/** One hash of all documents, prompts and targets of a task, as the harness's `task_hashes`. */
export function taskHash(samples: readonly HarnessSample[]): Promise<string> {
  return sha256(samples.map((sample) => sample.doc_hash + sample.prompt_hash + sample.target_hash).join(''));
}
