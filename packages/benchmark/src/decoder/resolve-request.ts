import { KvlrError } from '@kvlr/core';
import type { BenchmarkRequest, ResolvedBenchmarkRequest } from './benchmark-request.ts';

/** Fills in defaults and checks that every position exists in every model. Throws 'invalid-argument'. */
export function resolveRequest(request: BenchmarkRequest): ResolvedBenchmarkRequest {
  const resolved: ResolvedBenchmarkRequest = {
    ...request,
    others: request.others ?? [],
    batches: request.batches ?? [1],
    tokens: request.tokens ?? 16,
    rounds: request.rounds ?? 5,
    weights: request.weights ?? 'f32',
    cacheDtype: request.cacheDtype ?? 'f32',
    seed: request.seed ?? 0,
    timeLargestBatch: request.timeLargestBatch ?? false,
  };
  const { contexts, promptTokens, batches, tokens, rounds } = resolved;
  for (const [name, values] of Object.entries({ contexts, promptTokens, batches, tokens, rounds })) {
    const wrong = [values].flat().find((value) => !(Number.isSafeInteger(value) && value >= 1));
    if (wrong === undefined) continue;
    throw new KvlrError('invalid-argument', {
      message: `benchmarkDecoders: expected ${name} to be whole numbers from 1, got ${wrong}.`,
      data: { [name]: values },
    });
  }
  requireTimeable(resolved);
  const needed = Math.max(promptTokens, ...contexts.map((context) => context + tokens + 1));
  for (const { name, source } of [request.base, ...resolved.others]) {
    const { maxPositionEmbeddings } = source.shape;
    if (needed <= maxPositionEmbeddings) continue;
    throw new KvlrError('invalid-argument', {
      message: `benchmarkDecoders: expected at most ${maxPositionEmbeddings} positions, which is what ${name} has, got ${needed} (context, timed tokens and one to warm up).`,
      hint: 'Choose shorter contexts, a shorter prompt or fewer tokens.',
      data: { maxPositionEmbeddings, needed },
    });
  }
  return resolved;
}

/** The largest batch is timed with the last tokens of each context, behind at least one. */
function requireTimeable({ timeLargestBatch, memoryBytes, contexts, tokens }: ResolvedBenchmarkRequest): void {
  if (!timeLargestBatch) return;
  const shortest = Math.min(...contexts);
  if (memoryBytes !== undefined && shortest > tokens + 1) return;
  throw new KvlrError('invalid-argument', {
    message:
      memoryBytes === undefined
        ? 'benchmarkDecoders: expected memoryBytes with timeLargestBatch, got none.'
        : `benchmarkDecoders: expected contexts of at least ${tokens + 2} tokens to time ${tokens} at their end, got ${shortest}.`,
    data: { memoryBytes, contexts, tokens },
  });
}
