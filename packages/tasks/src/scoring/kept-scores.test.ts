import { expect, it } from 'vitest';
import { scriptedModel } from '../testing/scripted-model.ts';
import { keepScores } from './kept-scores.ts';
import type { TaskAnswer } from './metrics.ts';

it('a model that keeps its scores is asked once for each model key and sequence', async () => {
  const kept = new Map<string, TaskAnswer>();
  const store = {
    get: (key: string) => kept.get(key),
    put: async (key: string, answer: TaskAnswer) => void kept.set(key, answer),
  };
  let asked = 0;
  const model = {
    ...scriptedModel(),
    score: async (sequences: readonly { from: number }[]) =>
      sequences.map(({ from }) => {
        asked += 1;
        return { logLikelihood: -from, isGreedy: false };
      }),
  };
  const sequence = (from: number) => ({ tokenIds: Int32Array.of(3, 1, 2), from });
  for (const key of ['f32', 'f32', 'int4']) {
    const [score] = await keepScores(model, key, store).score([sequence(1)]);
    expect(score).toEqual({ logLikelihood: -1, isGreedy: false });
  }
  expect(asked).toBe(2);
  await keepScores(model, 'f32', store).score([sequence(2)]);
  expect(asked).toBe(3);
});
