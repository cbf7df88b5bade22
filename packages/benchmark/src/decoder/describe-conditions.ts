import { formatBytes } from '@kvlr/report';
import type { BackendChoice } from '@kvlr/runtime';
import type { ResolvedBenchmarkRequest } from './benchmark-request.ts';

/** What a reader has to know to take the figures for what they are. */
export function describeConditions(
  request: ResolvedBenchmarkRequest,
  { adapter }: BackendChoice,
  heldBytes: number | undefined,
): string[] {
  const { base, others, rounds, tokens, weights, cacheDtype, batches } = request;
  const random = [base, ...others].filter(({ randomWeights }) => randomWeights);
  return [
    `Weights ${weights}, KV cache ${cacheDtype}. ${rounds} rounds of ${tokens} tokens; caches hold seeded random entries up to the context.`,
    ...(others.length > 0
      ? [
          'Each model takes turns with the base within a round; a speed-up is the median over rounds of the ratio of medians, with the lowest and the highest.',
        ]
      : []),
    ...(random.length > 0
      ? [`Random weights, which cost the same time as trained ones: ${random.map(({ name }) => name).join('; ')}.`]
      : []),
    ...(batches.some((batch) => batch > 1) ? ['Batches above 1: the logits of every step come back to the host.'] : []),
    ...(heldBytes === undefined
      ? []
      : [
          `The backend held at most ${formatBytes(heldBytes)} at once: ${others.length > 0 ? 'two models' : 'the model'} with caches.`,
        ]),
    ...(adapter?.software
      ? [`${adapter.name} computes on the CPU: bytes and dispatches are those of a GPU, times are not.`]
      : []),
  ];
}
