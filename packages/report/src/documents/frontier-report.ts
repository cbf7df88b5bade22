import type { EvaluationResult, Measurement, WindowScores } from '@kvlr/core';
import type { ReportedModel, RunEnvironment } from './compression-report.ts';

/** One model's heads read through one cache. */
export interface FrontierPoint {
  /** Name of the row of heads: 'base', or a recipe with its share. */
  heads: string;
  /** For people: '8 heads of 32'. */
  headsTitle: string;
  /** The cache as kvlr's options take it. */
  cache: string;
  cacheTitle: string;
  /** Engines that load these heads and have this cache. */
  engines: string[];
  /** Exact bytes of one sequence at each of the report's contexts, scales and exact tokens included. */
  bytes: number[];
  /** Bytes that are kept once for a model beside its weights. */
  tableBytes: number;
  perplexity: Measurement;
  /** Perplexity over that of the base with an exact cache, paired over windows. */
  perplexityRatio: Measurement;
  /** Mean KL(base || this) per token, nats. */
  klDivergence: Measurement;
  topOneAgreement: Measurement;
  windows?: WindowScores | undefined;
  /** Of generation behind a context of the windows' length, where the runtime's kernels read such a cache; measured in the same run. */
  tokensPerSecond?: number | undefined;
}

/** Perplexity at equal bytes: heads, bits and exact tokens in one table. */
export interface FrontierReport {
  title: string;
  model: ReportedModel;
  base: EvaluationResult;
  /** Tokens of context at which bytes are counted, ascending; the first is the length of the evaluated windows. */
  contexts: number[];
  /** Bytes of the base with every number a half, at each of the contexts. */
  baseBytes: number[];
  points: FrontierPoint[];
  environment?: RunEnvironment | undefined;
  notes: string[];
}

/** Share of the base's bytes that a point takes at a context. */
export function shareOf(report: FrontierReport, point: FrontierPoint, context = 0): number {
  return point.bytes[context]! / report.baseBytes[context]!;
}

/** The points that no other beats: none has fewer bytes and no more perplexity. Ascending in bytes. */
export function paretoFront(points: readonly FrontierPoint[], context: number): FrontierPoint[] {
  const sorted = [...points].sort(
    (a, b) => a.bytes[context]! - b.bytes[context]! || a.perplexity.value - b.perplexity.value,
  );
  let best = Number.POSITIVE_INFINITY;
  return sorted.filter(({ perplexity }) => {
    if (perplexity.value >= best) return false;
    best = perplexity.value;
    return true;
  });
}

/** The point of the least perplexity that takes at most this share of the base's bytes; undefined where none does. */
export function bestWithin(
  report: FrontierReport,
  share: number,
  context: number,
  engine?: string,
): FrontierPoint | undefined {
  return report.points
    .filter((point) => shareOf(report, point, context) <= share * (1 + 1e-9))
    .filter(({ engines }) => engine === undefined || engines.includes(engine))
    .sort((a, b) => a.perplexity.value - b.perplexity.value)[0];
}
