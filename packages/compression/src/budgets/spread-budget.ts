import {
  type BudgetPolicy,
  type BudgetRequest,
  type BudgetSide,
  isModulePath,
  KvlrError,
  type KvlrErrorPlace,
  type LayerBudget,
  withPlace,
} from '@kvlr/core';

/**
 * Asks a policy how much each layer keeps, and checks its answer.
 *
 * @param label Registered name of the policy, or the path of its module, which errors then name.
 * @returns One budget per layer.
 * @throws KvlrError 'budget-invalid' when the policy throws or answers nonsense: the wrong number of layers, a count that is
 *   no candidate, keys and values apart where they go together, more than the total. Other KvlrErrors that the policy throws
 *   pass.
 */
export async function spreadBudget(policy: BudgetPolicy, request: BudgetRequest, label = ''): Promise<LayerBudget[]> {
  try {
    return readAnswer(await answerOf(policy, request), request);
  } catch (error) {
    throw withPlace(error, isModulePath(label) ? { module: label } : {});
  }
}

async function answerOf(policy: BudgetPolicy, request: BudgetRequest): Promise<unknown> {
  try {
    return await policy(request);
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    const received = `an exception: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw invalid(`${request.shape.numLayers} counts`, received, {}, cause);
  }
}

function readAnswer(answer: unknown, request: BudgetRequest): LayerBudget[] {
  const { numLayers } = request.shape;
  if (!Array.isArray(answer) || answer.length !== numLayers) {
    const received = Array.isArray(answer) ? `a list of ${answer.length}` : typeof answer;
    throw invalid(`a list of ${numLayers} entries, one a layer`, received);
  }
  const budgets = answer.map((entry: unknown, layer) => readEntry(entry, layer, request));
  const sum = budgets.reduce((total, { keys, values }) => total + keys + values, 0);
  if (sum <= request.total) return budgets;
  throw invalid(`keys and values of all layers to come to at most ${request.total}`, String(sum));
}

function readEntry(entry: unknown, layer: number, { unit, candidates }: BudgetRequest): LayerBudget {
  const { keys, values } = (typeof entry === 'number' ? { keys: entry, values: entry } : (entry ?? {})) as LayerBudget;
  const check = (side: BudgetSide, count: unknown) => {
    if (candidates[side].includes(count as number)) return;
    const what = unit === 'heads' ? 'KV heads' : `numbers of ${side}`;
    throw invalid(`${what} to be one of ${candidates[side].join(', ')}`, JSON.stringify(count) ?? 'none', { layer });
  };
  check('keys', keys);
  check('values', values);
  if (unit === 'heads' && keys !== values) {
    throw invalid('as many keys as values', `${keys} and ${values}`, { layer });
  }
  return { keys, values };
}

function invalid(expected: string, received: string, where: KvlrErrorPlace = {}, cause?: unknown): KvlrError {
  return new KvlrError('budget-invalid', {
    message: `expected ${expected}, got ${received}`,
    hint: 'Correct the policy: it answers with one of `candidates` for every layer, within `total`.',
    where,
    cause,
  });
}
