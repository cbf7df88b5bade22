import { KvlrError } from '@kvlr/core';

const hint =
  'A grouping strategy returns one list of head indices per group: equal sizes, every head from 0 to heads - 1 exactly once.';

/**
 * Checks a strategy's answer before anything is computed from it, and returns a copy of it.
 *
 * @param answer What the strategy returned; nothing is assumed about it.
 * @param heads KV heads of the source.
 * @param groupsWanted KV heads wanted; divides `heads`.
 * @param label Names the strategy (and the layer) in the message.
 * @throws KvlrError 'grouping-invalid' on a wrong count or size, a head that is missing, named twice, out of range, or no integer.
 */
export function validateGroups(answer: unknown, heads: number, groupsWanted: number, label = 'grouping'): number[][] {
  const size = heads / groupsWanted;
  const fail = (expected: string, received: string): never => {
    throw new KvlrError('grouping-invalid', {
      message: `${label}: expected ${expected}, got ${received}`,
      hint,
      data: { heads, groups: groupsWanted, answer },
    });
  };
  if (!Array.isArray(answer)) return fail('a list of groups', describe(answer));
  if (answer.length !== groupsWanted) return fail(`${groupsWanted} groups`, `${answer.length}`);

  const groupOfHead = new Map<number, number>();
  return answer.map((group: unknown, index) => {
    if (!Array.isArray(group)) return fail(`group ${index} to be a list of heads`, describe(group));
    if (group.length !== size) return fail(`${size} heads in group ${index}`, `${group.length}`);
    return Array.from(group, (head: unknown) => {
      if (typeof head !== 'number' || !Number.isInteger(head) || head < 0 || head >= heads) {
        return fail(`group ${index} to hold integers from 0 to ${heads - 1}`, describe(head));
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
