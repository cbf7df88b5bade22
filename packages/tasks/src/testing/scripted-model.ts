import type { Tokenizer } from '@kvlr/core';
import type { ScoredSequence, TaskModel } from '../scoring/task-model.ts';

/** One token a character code, with a token before every text. */
export const characters: Tokenizer = {
  vocabSize: 256,
  prefixIds: [1],
  endOfSequenceIds: [2],
  encode: (text) => [...text].map((character) => character.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...ids),
};

/** A model that gives each token a log-likelihood of minus its id over 100, remembers what it was asked, and answers with one text. */
export function scriptedModel(answer = ''): TaskModel & { asked: ScoredSequence[] } {
  const asked: ScoredSequence[] = [];
  return {
    vocabSize: 256,
    maxPositions: 64,
    asked,
    score: async (sequences) =>
      sequences.map((sequence) => {
        asked.push(sequence);
        const predicted = [...sequence.tokenIds.subarray(sequence.from)];
        return { logLikelihood: -predicted.reduce((sum, id) => sum + id / 100, 0), isGreedy: predicted.length < 4 };
      }),
    generate: async () => answer,
  };
}

/** Fields of a task as YAML gives them, with those that every task needs. */
export const taskYaml = (fields: string): string => `
task: example
dataset_path: json
dataset_kwargs: { data_files: { test: data.jsonl } }
test_split: test
metric_list: [{ metric: acc }]
${fields}`;
