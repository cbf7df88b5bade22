import { canonicalJson, sha256 } from '@kvlr/core';
import type { AnswerStore } from './run-task.ts';
import type { TaskModel } from './task-model.ts';

/**
 * A model whose scores are kept in a store: what an earlier run asked is not asked again.
 *
 * @param modelKey Everything about the model that its answers depend on.
 */
export function keepScores(model: TaskModel, modelKey: string, store: AnswerStore): TaskModel {
  const { vocabSize, maxPositions } = model;
  return {
    vocabSize,
    maxPositions,
    async score(sequences) {
      const asked = sequences.map(({ tokenIds, from }) => [from, ...tokenIds]);
      const key = await sha256(canonicalJson({ modelKey, asked }));
      const kept = store.get(key);
      if (kept?.type === 'scores') return kept.scores;
      const scores = await model.score(sequences);
      await store.put(key, { type: 'scores', scores });
      return scores;
    },
    generate: (request) => model.generate(request),
  };
}
