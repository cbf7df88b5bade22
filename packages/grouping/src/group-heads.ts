import { type GroupingRequest, type GroupingStrategy, KvlrError } from '@kvlr/core';
import { validateGroups } from './validate-groups.ts';

/**
 * Asks a strategy which KV heads of one layer share a head, and checks its answer.
 *
 * @param label Names the strategy in messages: its registered name or the path it was loaded from.
 * @throws KvlrError 'heads-not-divisible' when `groups` does not divide `heads`; 'grouping-invalid' when the strategy
 *   throws or answers nonsense. A KvlrError thrown by the strategy itself passes unchanged.
 */
export async function groupHeads(
  strategy: GroupingStrategy,
  request: GroupingRequest,
  label = 'grouping strategy',
): Promise<number[][]> {
  const { heads, groups, layer } = request;
  if (!Number.isInteger(groups) || groups < 1 || heads % groups !== 0) {
    const divisors = Array.from({ length: heads }, (_, index) => index + 1).filter((count) => heads % count === 0);
    throw new KvlrError('heads-not-divisible', {
      message: `groupHeads: expected a number of KV heads that divides ${heads}, got ${groups}`,
      hint: `Ask for one of: ${divisors.join(', ')}.`,
      data: { heads, groups, divisors },
    });
  }
  let answer: unknown;
  try {
    answer = await strategy(request);
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw new KvlrError('grouping-invalid', {
      message: `${label} (layer ${layer}): expected ${groups} groups, got an exception: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'Mend the strategy; the exception it threw is the cause of this error.',
      data: { layer, heads, groups },
      cause,
    });
  }
  return validateGroups(answer, heads, groups, `${label} (layer ${layer})`);
}
