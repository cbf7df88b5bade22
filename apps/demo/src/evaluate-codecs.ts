import {
  type CacheStorage,
  cacheBytes,
  codedCacheSize,
  countShapeParameters,
  type EventListener,
  type KvlrEvent,
  type LogitSource,
  type ModelSource,
  type RunControl,
} from '@kvlr/core';
import { type CachedLogits, cachedLogits, type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import { type CacheCodec, type CodecScore, headsOf, type Measured, type PairRecord, storageOf } from './pair.ts';

/** The codecs that are measured and offered. */
export const cacheCodecs = [
  { name: 'f16', title: '16 bits', label: '16' },
  { name: 'int8', title: '8 bits', label: '8' },
  { name: 'fp8', title: '8 bits, floats', label: 'fp8' },
  { name: 'int4', title: '4 bits', label: '4' },
  { name: 'channel-4', title: '4 bits, in blocks', label: '4 ▤' },
  { name: 'channel-3', title: '3 bits, in blocks', label: '3 ▤' },
  { name: 'channel-2', title: '2 bits, in blocks', label: '2 ▤' },
] as const satisfies readonly CacheCodec[];

/** Tokens of a context that bytes are counted at, where a model reaches so far. */
const longestContext = 4096;

/** Puts a model where its logits are computed: with such a cache behind every token, or with none. */
export type LoadLogits = (model: ModelSource, cache?: CacheStorage) => Promise<LogitSource & { dispose(): void }>;

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
  const contextTokens = contextOf(model);
  for (const [place, { name: codec }] of cacheCodecs.entries()) {
    const storage = storageOf(codec);
    const coded = await load(model, storage);
    try {
      const { perplexity, againstBase } = await evaluate({
        ...{ model: coded, modelId: model.id, base: baseLogits, baseModelId: base.id, windows, signal },
        cache: codedCacheSize(model.shape, storage.dtype),
        onEvent: partOf(onEvent, place, cacheCodecs.length),
      });
      const { perplexityRatio, topOneAgreement: agreement } = againstBase!;
      const bytesPerToken = cacheBytes(model.shape, { ...storage, capacity: contextTokens }) / contextTokens;
      scores.push({ codec, bytesPerToken, perplexity, perplexityRatio, agreement });
    } finally {
      coded.dispose();
    }
  }
  return scores;
}

function contextOf({ shape }: ModelSource): number {
  return Math.min(longestContext, shape.maxPositionEmbeddings);
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

export function measuredOn(model: ModelSource, windows: readonly EvaluationWindow[]): Measured {
  const windowLength = windows[0]!.tokenIds.length;
  return {
    tokens: windows.length * (windowLength - 1),
    windows: windows.length,
    windowLength,
    contextTokens: contextOf(model),
    sources: [...new Set(windows.map(({ source }) => source))],
  };
}
