import {
  type CacheDtype,
  codedCacheSize,
  countShapeParameters,
  type EventListener,
  type KvlrEvent,
  type LogitSource,
  type ModelSource,
  type RunControl,
} from '@kvlr/core';
import { type CachedLogits, cachedLogits, type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import { type CacheCodec, type CodecScore, headsOf, type Measured, type PairRecord } from './pair.ts';

/** The codecs that are measured and offered. */
export const cacheCodecs = [
  { name: 'f16', title: '16 bits' },
  { name: 'int8', title: '8 bits' },
  { name: 'int4', title: '4 bits' },
] as const satisfies readonly CacheCodec[];

/** Puts a model where its logits are computed: with a cache of this dtype behind every token, or with none. */
export type LoadLogits = (model: ModelSource, cacheDtype?: CacheDtype) => Promise<LogitSource & { dispose(): void }>;

interface CodecsRequest extends RunControl {
  model: ModelSource;
  /** The original. */
  base: ModelSource;
  baseLogits: CachedLogits;
  windows: readonly EvaluationWindow[];
  load: LoadLogits;
}

/** The original's logits on the windows, remembered: every candidate is laid beside them. */
export async function withBaseLogits<Value>(
  base: ModelSource,
  load: LoadLogits,
  work: (baseLogits: CachedLogits) => Promise<Value>,
): Promise<Value> {
  const model = await load(base);
  try {
    return await work(cachedLogits(model));
  } finally {
    model.dispose();
  }
}

/** What a model scores with its cache in each codec: every key and value is read back from it, as in generating. */
export async function evaluateCodecs(request: CodecsRequest): Promise<CodecScore[]> {
  const { model, base, baseLogits, windows, load, signal, onEvent } = request;
  const scores: CodecScore[] = [];
  for (const [place, { name: dtype }] of cacheCodecs.entries()) {
    const coded = await load(model, dtype);
    try {
      const { perplexity, againstBase, cache } = await evaluate({
        ...{ model: coded, modelId: model.id, base: baseLogits, baseModelId: base.id, windows, signal },
        cache: codedCacheSize(model.shape, dtype),
        onEvent: partOf(onEvent, place, cacheCodecs.length),
      });
      const { perplexityRatio, topOneAgreement: agreement } = againstBase!;
      scores.push({ codec: dtype, bytesPerToken: cache.bytesPerToken, perplexity, perplexityRatio, agreement });
    } finally {
      coded.dispose();
    }
  }
  return scores;
}

/** Progress of one of several parts of equal size as progress of all. */
export function partOf(onEvent: EventListener | undefined, part: number, parts: number): EventListener {
  return (event: KvlrEvent) => {
    if (event.type !== 'progress') return onEvent?.(event);
    const { completed, total } = event;
    onEvent?.({ ...event, completed: part * total + completed, total: parts * total });
  };
}

export function recordOf(
  model: ModelSource,
  facts: Pick<PairRecord, 'name' | 'keep' | 'scores' | 'pictures'>,
): PairRecord {
  return { ...facts, ...headsOf(model.shape), parameters: countShapeParameters(model.shape) };
}

export function measuredOn(windows: readonly EvaluationWindow[]): Measured {
  const windowLength = windows[0]!.tokenIds.length;
  return {
    tokens: windows.length * (windowLength - 1),
    windows: windows.length,
    windowLength,
    sources: [...new Set(windows.map(({ source }) => source))],
  };
}
