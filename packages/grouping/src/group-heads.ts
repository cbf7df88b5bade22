import { type GroupingRequest, type GroupingStrategy, isModulePath, KvlrError, withPlace } from '@kvlr/core';

/**
 * Asks a strategy which KV heads of one layer share a head, and checks its answer.
 *
 * @param label Registered name of the strategy, or the path of its module, which errors then name.
 * @throws KvlrError 'heads-not-divisible' when `wanted` does not divide `numKeyValueHeads`; 'grouping-invalid' when the
 *   strategy throws or answers nonsense; 'plugin-invalid' when it reads a field of the request by a former name. Other
 *   KvlrErrors that the strategy throws pass.
 */
export async function groupHeads(
  strategy: GroupingStrategy,
  request: GroupingRequest,
  label = '',
): Promise<number[][]> {
  const { numKeyValueHeads, wanted, layer } = request;
  if (!Number.isInteger(wanted) || wanted < 1 || numKeyValueHeads % wanted !== 0) {
    const divisors = Array.from({ length: numKeyValueHeads }, (_, index) => index + 1).filter(
      (count) => numKeyValueHeads % count === 0,
    );
    throw new KvlrError('heads-not-divisible', {
      message: `expected a number of KV heads that divides ${numKeyValueHeads}, got ${wanted}`,
      hint: `Ask for one of: ${divisors.join(', ')}.`,
      data: { numKeyValueHeads, wanted, divisors },
    });
  }
  try {
    return validateGroups(await answerOf(strategy, request), numKeyValueHeads, wanted);
  } catch (error) {
    throw withPlace(error, { ...(isModulePath(label) && { module: label }), layer });
  }
}

async function answerOf(strategy: GroupingStrategy, request: GroupingRequest): Promise<unknown> {
  try {
    return await strategy(withFormerNames(request));
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw new KvlrError('grouping-invalid', {
      message: `expected ${request.wanted} groups, got an exception: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'Correct the strategy; the exception it threw is the cause of this error.',
      data: { layer: request.layer, numKeyValueHeads: request.numKeyValueHeads, wanted: request.wanted },
      cause,
    });
  }
}

const formerNames: Record<string, keyof GroupingRequest> = { heads: 'numKeyValueHeads', groups: 'wanted' };

/** The request, with former names of its fields that say the present ones when they are read. */
function withFormerNames(request: GroupingRequest): GroupingRequest {
  const guarded = { ...request };
  for (const [former, name] of Object.entries(formerNames)) {
    Object.defineProperty(guarded, former, {
      get() {
        throw new KvlrError('plugin-invalid', {
          message: `expected the strategy to read ${name} of the request, got its former name, ${former}`,
          hint: 'A request says numKeyValueHeads (KV heads of the source) and wanted (KV heads to keep).',
          data: { former, name },
        });
      },
    });
  }
  return guarded;
}

/**
 * Checks a strategy's answer before anything is computed from it, and returns a copy of it.
 *
 * @param answer What the strategy returned; nothing is assumed about it.
 * @param numKeyValueHeads KV heads of the source.
 * @param wanted KV heads wanted; divides `numKeyValueHeads`.
 * @throws KvlrError 'grouping-invalid' on a wrong count or size, a head that is missing, named twice, out of range, or no integer.
 */
export function validateGroups(answer: unknown, numKeyValueHeads: number, wanted: number): number[][] {
  const size = numKeyValueHeads / wanted;
  const fail = (expected: string, received: string): never => {
    throw new KvlrError('grouping-invalid', {
      message: `expected ${expected}, got ${received}`,
      hint: `A strategy returns one list of head indices per group: equal sizes, every head from 0 to ${numKeyValueHeads - 1} exactly once.`,
      data: { numKeyValueHeads, wanted, answer },
    });
  };
  if (!Array.isArray(answer)) return fail('a list of groups', describe(answer));
  if (answer.length !== wanted) return fail(`${wanted} groups`, `${answer.length}`);

  const groupOfHead = new Map<number, number>();
  return answer.map((group: unknown, index) => {
    if (!Array.isArray(group)) return fail(`group ${index} to be a list of heads`, describe(group));
    if (group.length !== size) return fail(`${size} heads in group ${index}`, `${group.length}`);
    return Array.from(group, (head: unknown) => {
      if (typeof head !== 'number' || !Number.isInteger(head) || head < 0 || head >= numKeyValueHeads) {
        return fail(`group ${index} to hold integers from 0 to ${numKeyValueHeads - 1}`, describe(head));
      }
      const earlier = groupOfHead.get(head);
      if (earlier !== undefined) {
        return fail('every head once', `head ${head} in group ${earlier} and again in group ${index}`);
      }
      groupOfHead.set(head, index);
      return head;
    });
  });
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'number') return `${value}`;
  if (typeof value === 'string') return JSON.stringify(value);
  return Array.isArray(value) ? 'a list' : typeof value;
}
