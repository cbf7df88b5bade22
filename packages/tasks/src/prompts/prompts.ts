import { KvlrError } from '@kvlr/core';
import type { TaskFields } from '../definition/task-fields.ts';
import { PythonRandom } from './python-random.ts';
import { evaluateTemplate, renderTemplate, type TaskDocument } from './templates.ts';

/** A text whose log-likelihood is asked for, behind another one. */
export interface ContinuationText {
  context: string;
  continuation: string;
}

/** What is asked of a model about one document. */
export interface TaskPrompt {
  /** Place of the document in its split. */
  documentIndex: number;
  document: TaskDocument;
  /** What the document holds to be right, as `doc_to_target` gives it. */
  target: unknown;
  question:
    | { type: 'continuations'; texts: ContinuationText[] }
    | { type: 'rolling'; text: string }
    | { type: 'generation'; context: string };
  /** Of multiple choice: the choices, and the places of those that are right. */
  choices?: string[];
  gold?: number[];
}

export interface PromptRequest {
  fields: TaskFields;
  documents: readonly TaskDocument[];
  /** Documents that examples are taken from; `documents` where the task names no other split. */
  exampleDocuments: readonly TaskDocument[];
  /** Examples before each question. Default: what the task says, or none. */
  numFewshot?: number | undefined;
  /** Seed by which examples are chosen; the harness's default is 1234. */
  fewshotSeed?: number | undefined;
  /** Only so many first documents. */
  limit?: number | undefined;
}

/** The harness's default for `--seed`'s few-shot part. */
const defaultFewshotSeed = 1234;

/** Examples before each question: asked for, else what the task says, else none. */
export function countFewshot(fields: Pick<TaskFields, 'num_fewshot'>, asked: number | undefined): number {
  return asked ?? fields.num_fewshot ?? 0;
}

/**
 * The prompts of a task, text for text those of lm-evaluation-harness 0.4.13 (`ConfigurableTask.fewshot_context` and
 * `construct_requests`, no chat template): description, examples, question, with their delimiters. Few-shot examples are those that
 * Python's `random` would choose.
 *
 * @throws KvlrError 'file-malformed' for documents that templates do not fit, 'text-too-short' for fewer documents than examples,
 *   'invalid-argument' for counts that are none.
 */
export function buildPrompts(request: PromptRequest): TaskPrompt[] {
  const { fields, documents, limit = documents.length } = request;
  requireCount('limit', request.limit ?? 1, 1);
  requireCount('numFewshot', request.numFewshot ?? 0, 0);
  const examplesOf = exampleSampler(request);
  return documents.slice(0, limit).map((document, documentIndex) => {
    try {
      const examples = examplesOf(document)
        .map((example) => exampleText(fields, example))
        .join('');
      const description = fields.description === undefined ? '' : asText(fields.description, document);
      return { documentIndex, document, ...askAbout(fields, document, description + examples) };
    } catch (cause) {
      throw KvlrError.isInstance(cause) ? cause : misfit(documentIndex, cause);
    }
  });
}

/** For documents that hold what has no text, or are nested without end. */
function misfit(documentIndex: number, cause: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected texts, numbers and lists in document ${documentIndex + 1}, got: ${cause instanceof Error ? cause.message : cause}`,
    hint: 'Check the row of the data, and the fields of the task that name its columns.',
    data: { documentIndex },
    cause,
  });
}

function requireCount(argument: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new KvlrError('invalid-argument', {
    message: `expected a whole number from ${least}, got ${value}`,
    where: { argument },
    data: { [argument]: value },
  });
}

function exampleSampler(request: PromptRequest): (document: TaskDocument) => readonly TaskDocument[] {
  const { fields, exampleDocuments: pool, fewshotSeed = defaultFewshotSeed } = request;
  const count = countFewshot(fields, request.numFewshot);
  if (count === 0) return () => [];
  const excluded = (fields.fewshot_split ?? null) === (fields.test_split ?? null);
  const needed = excluded ? count + 1 : count;
  if (pool.length < needed) {
    throw new KvlrError('text-too-short', {
      message: `expected at least ${needed} documents to take ${count} examples from, got ${pool.length}`,
      hint: 'Ask for fewer examples.',
      where: { argument: 'numFewshot' },
      data: { required: needed, available: pool.length },
    });
  }
  const others = (chosen: readonly TaskDocument[], document: TaskDocument) =>
    chosen.filter((example) => JSON.stringify(example) !== JSON.stringify(document)).slice(0, count);
  if (fields.fewshot_config?.sampler === 'first_n') {
    return (document) => (excluded ? others(pool, document) : pool.slice(0, count));
  }
  const random = new PythonRandom(fewshotSeed);
  return (document) => {
    const chosen = random.sample(pool, needed);
    return excluded ? others(chosen, document) : chosen;
  };
}

type Asked = Omit<TaskPrompt, 'documentIndex' | 'document'>;

function askAbout(fields: TaskFields, document: TaskDocument, before: string): Asked {
  const target = targetOf(fields, document);
  switch (fields.output_type) {
    case 'multiple_choice':
      return askChoices(fields, document, before, target);
    case 'loglikelihood': {
      const texts = [{ context: before + questionText(fields, document), continuation: String(target) }];
      return { target, question: { type: 'continuations', texts } };
    }
    case 'loglikelihood_rolling':
      return { target, question: { type: 'rolling', text: String(target) } };
    case 'generate_until': {
      const choices = fields.doc_to_choice === undefined ? undefined : choicesOf(fields, document);
      const answer = choices && typeof target === 'number' ? choices[target] : target;
      return { target: answer, question: { type: 'generation', context: before + questionText(fields, document) } };
    }
  }
}

function askChoices(fields: TaskFields, document: TaskDocument, before: string, target: unknown): Asked {
  const choices = choicesOf(fields, document);
  const question = textOf(fields, document);
  const delimiter = fields.target_delimiter;
  // A number as question: every choice is a question of its own (WinoGrande), and the target is what follows.
  const severalQuestions = typeof question === 'number';
  const texts = choices.map((choice) =>
    severalQuestions
      ? { context: before + choice, continuation: delimiter + String(target) }
      : { context: before + question, continuation: delimiter + choice },
  );
  const right = severalQuestions ? question : target;
  const gold = (Array.isArray(right) ? right : [right]).map((one) =>
    typeof one === 'number' ? one : choices.indexOf(String(one)),
  );
  if (gold.some((place) => !(place >= 0 && place < choices.length))) {
    throw new KvlrError('file-malformed', {
      message: `expected a target among ${choices.length} choices, got ${JSON.stringify(right)}`,
      hint: 'doc_to_target gives the place of a choice from 0, or a choice itself.',
      data: { target: right, choices },
    });
  }
  return { target: right, question: { type: 'continuations', texts }, choices, gold };
}

/** A labelled example: question and answer with their delimiters. */
function exampleText(fields: TaskFields, document: TaskDocument): string {
  const choices = fields.doc_to_choice === undefined ? undefined : choicesOf(fields, document);
  const question = textOf(fields, document);
  const target = targetOf(fields, document);
  const answer = Array.isArray(target) ? target[0] : target;
  const severalQuestions = choices !== undefined && typeof question === 'number';
  const text = severalQuestions ? choices[question] : String(question);
  const answerText =
    !severalQuestions && choices !== undefined && typeof answer === 'number' ? choices[answer] : String(answer);
  return text + fields.target_delimiter + answerText + fields.fewshot_delimiter;
}

function questionText(fields: TaskFields, document: TaskDocument): string {
  return String(textOf(fields, document));
}

/** The name of a column gives what lies there; anything else is a template. */
function columnOrTemplate(field: string, document: TaskDocument): unknown {
  return Object.hasOwn(document, field) ? document[field] : renderTemplate(field, document);
}

function asText(field: string, document: TaskDocument): string {
  return String(columnOrTemplate(field, document));
}

const isDigits = (value: unknown): value is string => typeof value === 'string' && /^\d+$/.test(value);

function textOf({ doc_to_text: field, doc_to_choice: choice }: TaskFields, document: TaskDocument): string | number {
  if (typeof field === 'number') return field;
  if (Object.hasOwn(document, field)) return document[field] as string | number;
  const text = renderTemplate(field, document);
  return isDigits(text) && choice !== undefined ? Number(text) : text;
}

function targetOf({ doc_to_target: field, doc_to_choice: choice }: TaskFields, document: TaskDocument): unknown {
  if (typeof field !== 'string') return field;
  if (Object.hasOwn(document, field)) return document[field];
  const value = evaluateTemplate(field, document);
  if (Array.isArray(value)) return value;
  const text = String(value);
  return isDigits(text) && choice !== undefined ? Number(text) : text;
}

function choicesOf({ doc_to_choice: field }: TaskFields, document: TaskDocument): string[] {
  if (Array.isArray(field)) return field;
  if (typeof field === 'object') return Object.values(field);
  const value = Object.hasOwn(document, field!) ? document[field!] : evaluateTemplate(field!, document);
  if (Array.isArray(value)) return value.map(String);
  throw new KvlrError('file-malformed', {
    message: `expected a list of choices, got ${JSON.stringify(value)?.slice(0, 80)}`,
    hint: 'doc_to_choice is a list, the name of a column with lists, or a template of one expression such as {{[a, b]}}.',
    where: { argument: 'doc_to_choice' },
  });
}
