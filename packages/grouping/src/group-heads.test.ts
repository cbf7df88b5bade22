import { type GroupingRequest, KvlrError } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { groupHeads } from './group-heads.ts';
import { resolveGrouping } from './resolve-grouping.ts';
import { strategyFromModule } from './strategy-from-module.ts';

const request: GroupingRequest = {
  layer: 2,
  statistics: undefined,
  heads: 8,
  groups: 4,
  headDim: 4,
  numAttentionHeads: 8,
  cost: undefined,
};

async function failureOf(work: () => Promise<unknown>): Promise<KvlrError> {
  const error = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(KvlrError.isInstance(error)).toBe(true);
  return error as KvlrError;
}

describe('groupHeads', () => {
  it('runs the contiguous strategy', async () => {
    expect(await groupHeads(resolveGrouping('contiguous'), request)).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ]);
  });

  it('awaits an asynchronous strategy', async () => {
    const groups = await groupHeads(async ({ heads }) => [Array.from({ length: heads }, (_, head) => head)], {
      ...request,
      groups: 1,
    });
    expect(groups).toEqual([[0, 1, 2, 3, 4, 5, 6, 7]]);
  });

  it('runs the example strategy loaded from its file', async () => {
    const path = '../../../examples/grouping/interleaved.mjs';
    const strategy = strategyFromModule(await import(path), path);
    expect(await groupHeads(strategy, request, path)).toEqual([
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ]);
  });

  it('turns an exception of the strategy into a typed error with its cause', async () => {
    const failure = await failureOf(() =>
      groupHeads(
        () => {
          throw new TypeError('statistics is undefined');
        },
        request,
        './mine.mjs',
      ),
    );
    expect(failure.code).toBe('grouping-invalid');
    expect(failure.message).toContain('./mine.mjs (layer 2)');
    expect(failure.message).toContain('statistics is undefined');
    expect(failure.cause).toBeInstanceOf(TypeError);
  });

  it('refuses nonsense', async () => {
    expect((await failureOf(() => groupHeads(() => [[0, 0]], request))).code).toBe('grouping-invalid');
  });

  it.each([0, 3, 16, 2.5])('refuses %s groups of 8 heads and names the counts that divide', async (groups) => {
    const failure = await failureOf(() => groupHeads(resolveGrouping('contiguous'), { ...request, groups }));
    expect(failure.code).toBe('heads-not-divisible');
    expect(failure.hint).toContain('1, 2, 4, 8');
  });

  it('says that lost-energy needs statistics', async () => {
    const failure = await failureOf(() => groupHeads(resolveGrouping('lost-energy'), request));
    expect(failure.code).toBe('grouping-invalid');
    expect(failure.hint).toContain('contiguous');
  });
});

describe('resolveGrouping', () => {
  it('passes a function through', () => {
    const strategy = () => [[0]];
    expect(resolveGrouping(strategy)).toBe(strategy);
  });

  it.each(['nearest', 'toString', ''])('refuses the name %j and lists the known ones', (name) => {
    expect(() => resolveGrouping(name)).toThrow(/contiguous, .*lost-energy/);
  });
});

describe('strategyFromModule', () => {
  it.each([[{}], [{ default: 7 }], [null], [undefined], [{ strategy: () => [] }]])('refuses %j', (namespace) => {
    try {
      strategyFromModule(namespace, './mine.mjs');
      expect.unreachable();
    } catch (error) {
      expect(KvlrError.isInstance(error) && error.code).toBe('plugin-invalid');
      expect((error as KvlrError).message).toContain('./mine.mjs');
    }
  });
});
