import type { MetricFields, MetricName, TaskFields } from '../definition/task-fields.ts';
import type { TaskPrompt } from '../prompts/prompts.ts';
import { answersEqual } from './answers.ts';
import type { SequenceScore } from './task-model.ts';

/** What a model answered: scores of the continuations or of the windows of a text, or a text. */
export type TaskAnswer = { type: 'scores'; scores: SequenceScore[] } | { type: 'text'; text: string };

/** One document's part of a metric: a number, or of a ratio of sums the numerator and its weight. */
export type MetricPart = number | readonly [sum: number, weight: number];

/** Parts of one document by metric. */
export type MetricParts = Partial<Record<MetricName, MetricPart>>;

/**
 * What one document says of each metric of its task, as lm-evaluation-harness computes it (`ConfigurableTask.process_results`): acc_norm
 * by log-likelihoods per character of the choice, acc_bytes per byte; of equal choices the first counts.
 */
export function scoreDocument(fields: TaskFields, prompt: TaskPrompt, answer: TaskAnswer): MetricParts {
  const parts = answer.type === 'text' ? undefined : partsOfScores(prompt, answer.scores);
  return Object.fromEntries(
    fields.metric_list.map((settings) => [
      settings.metric,
      parts?.[settings.metric] ?? partOfText(prompt, answer, settings),
    ]),
  );
}

function partOfText({ target }: TaskPrompt, answer: TaskAnswer, settings: MetricFields): number {
  const text = answer.type === 'text' ? answer.text : '';
  const targets = Array.isArray(target) ? target : [target];
  return Number(targets.some((one) => answersEqual(text, String(one), settings)));
}

function partsOfScores({ question, choices, gold = [] }: TaskPrompt, scores: readonly SequenceScore[]): MetricParts {
  const logLikelihoods = scores.map(({ logLikelihood }) => logLikelihood);
  if (question.type === 'rolling') {
    const sum = logLikelihoods.reduce((total, one) => total + one, 0);
    const bytes = byteLength(question.text);
    const words = question.text.split(/\s+/).length;
    return { word_perplexity: [sum, words], byte_perplexity: [sum, bytes], bits_per_byte: [sum, bytes] };
  }
  if (choices === undefined) {
    return { perplexity: logLikelihoods[0]!, acc: Number(scores[0]!.isGreedy) };
  }
  const isRight = (values: number[]) => Number(gold.includes(values.indexOf(Math.max(...values))));
  return {
    acc: isRight(logLikelihoods),
    acc_norm: isRight(logLikelihoods.map((one, place) => one / [...choices[place]!].length)),
    acc_bytes: isRight(logLikelihoods.map((one, place) => one / byteLength(choices[place]!))),
    exact_match: Number(gold.some((place) => scores[place]!.isGreedy)),
  };
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** How parts become the metric. */
interface Aggregation {
  higherIsBetter: boolean;
  /** The metric of its mean, or ratio of sums. */
  value(mean: number): number;
  /** Derivative of `value` at the mean, for the standard error by the delta method. */
  slope(mean: number): number;
}

const plainMean: Aggregation = { higherIsBetter: true, value: (mean) => mean, slope: () => 1 };
const perplexity: Aggregation = {
  higherIsBetter: false,
  value: (mean) => Math.exp(-mean),
  slope: (mean) => -Math.exp(-mean),
};
const bits: Aggregation = { higherIsBetter: false, value: (mean) => -mean / Math.LN2, slope: () => -1 / Math.LN2 };

/** Every metric's aggregation, the harness's own for it. */
export const aggregations: Record<MetricName, Aggregation> = {
  acc: plainMean,
  acc_norm: plainMean,
  acc_bytes: plainMean,
  exact_match: plainMean,
  perplexity,
  word_perplexity: perplexity,
  byte_perplexity: perplexity,
  bits_per_byte: bits,
};

/** A metric over documents. */
export interface MetricEstimate {
  value: number;
  /** Undefined with fewer than two documents. */
  standardError: number | undefined;
}

/**
 * A metric from its parts. Standard errors: of means the sample's, s / sqrt(n), as in the harness; of ratios of sums that of the
 * residuals sum - ratio x weight; carried over to perplexities by the delta method, where the harness has a bootstrap or nothing.
 */
export function aggregate(metric: MetricName, parts: readonly MetricPart[]): MetricEstimate {
  const { value, slope } = aggregations[metric];
  const pairs = parts.map((part): readonly [number, number] => (typeof part === 'number' ? [part, 1] : part));
  const weight = pairs.reduce((total, [, one]) => total + one, 0);
  const mean = pairs.reduce((total, [sum]) => total + sum, 0) / weight;
  const squares = pairs.reduce((total, [sum, one]) => total + (sum - mean * one) ** 2, 0);
  const count = pairs.length;
  const error = count > 1 ? (Math.sqrt((squares / (count - 1)) * count) / weight) * Math.abs(slope(mean)) : undefined;
  return { value: value(mean), standardError: error };
}

/** How much a metric differs between two models on the same documents. */
export interface PairedDifference extends MetricEstimate {
  /** value -+ 1.96 standard errors: 95 % under the normal distribution. */
  interval: readonly [low: number, high: number] | undefined;
}

/**
 * First minus second, paired over documents, so that what is hard for both adds no uncertainty. The error is that of the difference of
 * the two aggregates' linear parts (delta method).
 */
export function comparePaired(
  metric: MetricName,
  first: readonly MetricPart[],
  second: readonly MetricPart[],
): PairedDifference {
  const influences = [first, second].map((parts) => influencesOf(metric, parts));
  const value = aggregate(metric, first).value - aggregate(metric, second).value;
  const differences = influences[0]!.map((one, place) => one - influences[1]![place]!);
  const count = differences.length;
  if (count < 2) return { value, standardError: undefined, interval: undefined };
  const squares = differences.reduce((total, one) => total + one * one, 0);
  const standardError = Math.sqrt(squares / (count - 1) / count);
  return { value, standardError, interval: [value - 1.96 * standardError, value + 1.96 * standardError] };
}

/** What each document adds to an aggregate's deviation, times the number of documents. */
function influencesOf(metric: MetricName, parts: readonly MetricPart[]): number[] {
  const pairs = parts.map((part): readonly [number, number] => (typeof part === 'number' ? [part, 1] : part));
  const weight = pairs.reduce((total, [, one]) => total + one, 0);
  const mean = pairs.reduce((total, [sum]) => total + sum, 0) / weight;
  const scale = (aggregations[metric].slope(mean) * pairs.length) / weight;
  return pairs.map(([sum, one]) => (sum - mean * one) * scale);
}
