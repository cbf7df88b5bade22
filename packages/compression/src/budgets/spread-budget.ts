import { type BudgetPolicy, type BudgetRequest, type BudgetSide, KvlrError, type LayerBudget } from '@kvlr/core';

/**
 * Asks a policy how much each layer keeps, and checks its answer.
 *
 * @param label Names the policy in messages: its registered name or the path it was loaded from.
 * @returns One budget per layer.
 * @throws KvlrError 'budget-invalid' when the policy throws or answers nonsense: the wrong number of layers, a count that is
 *   no candidate, keys and values apart where they go together, more than the total. A KvlrError that the policy throws
 *   itself passes unchanged.
 */
export async function spreadBudget(
  policy: BudgetPolicy,
  request: BudgetRequest,
  label = 'budget policy',
): Promise<LayerBudget[]> {
  let answer: unknown;
  try {
    answer = await policy(request);
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw invalid(label, `${request.shape.numLayers} counts`, `an exception: ${messageOf(cause)}`, {}, cause);
  }
  const { numLayers } = request.shape;
  if (!Array.isArray(answer) || answer.length !== numLayers) {
    const received = Array.isArray(answer) ? `a list of ${answer.length}` : typeof answer;
    throw invalid(label, `a list of ${numLayers} entries, one a layer`, received);
  }
  const budgets = answer.map((entry: unknown, layer) => readEntry(entry, layer, request, label));
  const sum = budgets.reduce((total, { keys, values }) => total + keys + values, 0);
  if (sum > request.total) {
    const expected = `keys and values of all layers to come to at most ${request.total}`;
    throw invalid(label, expected, String(sum), { total: request.total, sum });
  }
  return budgets;
}

function readEntry(entry: unknown, layer: number, { unit, candidates }: BudgetRequest, label: string): LayerBudget {
  const { keys, values } = (typeof entry === 'number' ? { keys: entry, values: entry } : (entry ?? {})) as LayerBudget;
  const check = (side: BudgetSide, count: unknown) => {
    if (candidates[side].includes(count as number)) return;
    const what = unit === 'heads' ? 'KV heads' : `numbers of ${side}`;
    const expected = `${what} of layer ${layer} to be one of ${candidates[side].join(', ')}`;
    throw invalid(label, expected, JSON.stringify(count) ?? 'none', { layer, side, count });
  };
  check('keys', keys);
  check('values', values);
  if (unit === 'heads' && keys !== values) {
    throw invalid(label, `as many keys as values in layer ${layer}`, `${keys} and ${values}`, { layer, keys, values });
  }
  return { keys, values };
}

function invalid(
  label: string,
  expected: string,
  received: string,
  data: Record<string, unknown> = {},
  cause?: unknown,
): KvlrError {
  return new KvlrError('budget-invalid', {
    message: `${label}: expected ${expected}, got ${received}`,
    hint: 'Mend the policy: it answers with one of `candidates` for every layer, within `total`.',
    data: { policy: label, ...data },
    cause,
  });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
