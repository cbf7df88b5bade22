import type { GeneratedToken } from '@kvlr/runtime';
import { describe, expect, it } from 'vitest';
import { raceModels, sharedLength } from './race-models.ts';

it.each([
  [[], [], 0],
  [[1], [], 1],
  [[1, 2], [1], 2],
  [[1, 2], [1, 3], 1],
  [[4, 2], [1, 2], 0],
])('%j and %j share %i tokens', (first, second, shared) => expect(sharedLength(first, second)).toBe(shared));

/** A model that says these ids. */
function scripted(ids: readonly number[], disposed: string[], name: string) {
  return {
    createCache: async () => ({ dispose: () => disposed.push(name) }) as never,
    async *generate(): AsyncGenerator<GeneratedToken> {
      for (const [index, tokenId] of ids.entries()) {
        yield { tokenId, index, milliseconds: 1, cachedTokens: 2 + index, cacheBytes: 10 * (2 + index) };
      }
    },
  };
}

describe('raceModels', () => {
  const tokenizer = { decode: (ids: ArrayLike<number>) => Array.from(ids).join(''), endOfSequenceIds: [] };

  it('writes in turns and says where the texts part', async () => {
    const disposed: string[] = [];
    const racers = {
      original: { model: scripted([7, 8, 9], disposed, 'original'), cache: { dtype: 'f16' as const } },
      compressed: { model: scripted([7, 5], disposed, 'compressed'), cache: { dtype: 'int8' as const } },
    };
    const seen: string[] = [];
    const request = { racers, tokenizer, promptIds: [1, 2], newTokens: 3, signal: new AbortController().signal };
    const ids = await raceModels(request, ({ side, text, sharedCharacters, sharedTokens, cacheBytes }) =>
      seen.push(`${side} ${text} ${sharedCharacters} ${sharedTokens} ${cacheBytes}`),
    );
    expect(ids).toEqual({ original: [7, 8, 9], compressed: [7, 5] });
    expect(seen).toEqual([
      'original 7 1 1 20',
      'compressed 7 1 1 20',
      'original 78 2 2 30',
      'compressed 75 1 1 30',
      'original 789 1 1 40',
    ]);
    expect(disposed).toEqual(['original', 'compressed']);
  });
});
