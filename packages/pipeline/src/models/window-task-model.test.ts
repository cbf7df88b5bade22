import type { Tokenizer } from '@kvlr/core';
import { loadOnnxModel } from '@kvlr/engine-onnx';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { ScoredSequence } from '@kvlr/tasks';
import { createTinyModel, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { CachedTaskModel } from './task-model.ts';
import { WindowTaskModel } from './window-task-model.ts';

const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const { vocabSize } = source.shape;
/** Nothing is generated here. */
const noTokenizer = {} as Tokenizer;
const question = randomTokenIds(9, vocabSize, 1);

/** A text that begins with some of the question's tokens. */
const behind = (shared: number, tokens: number, from: number): ScoredSequence => ({
  tokenIds: Int32Array.of(...question.subarray(0, shared), ...randomTokenIds(tokens, vocabSize, tokens)),
  from,
});
/** Choices behind a question, of one token too; texts with other contexts; one that begins otherwise. */
const calls: ScoredSequence[][] = [
  [behind(9, 3, 9), behind(9, 1, 9), behind(9, 6, 9)],
  [behind(4, 5, 8), behind(6, 4, 3), behind(9, 2, 1)],
  [behind(9, 3, 9), { tokenIds: randomTokenIds(12, vocabSize, 77), from: 5 }],
  [
    behind(9, 1, 9),
    { tokenIds: Int32Array.of(...question, 3), from: 9 },
    { tokenIds: Int32Array.of(...question, 4), from: 9 },
  ],
];

it('scores in one window what texts score alone, and behind a cache', async () => {
  await prepareNodeRuntime();
  const native = await loadOnnxModel(source, { threads: 1 });
  const decoder = await loadModel(source, { backend: 'wasm', weights: 'f32' });
  const cached = await CachedTaskModel.create(decoder, noTokenizer);
  const windows: number[] = [];
  const counting = {
    branchLogits: (...call: Parameters<typeof native.branchLogits>) => {
      windows.push(call[0].branches.length);
      return native.branchLogits(...call);
    },
  };
  const model = new WindowTaskModel(source.shape, counting, async () => cached);
  for (const call of calls) {
    const [received, behindCache] = [await model.score(call), await cached.score(call)];
    for (const [place, { tokenIds, from }] of call.entries()) {
      const expected = await logLikelihood(tokenIds, from);
      expect(received[place]!.logLikelihood).toBeCloseTo(expected, 4);
      expect(behindCache[place]!.logLikelihood).toBeCloseTo(expected, 4);
      expect(received[place]!.isGreedy).toBe(behindCache[place]!.isGreedy);
    }
  }
  expect(windows).toEqual([3, 3, 1, 1, 3]);
  cached.dispose();
  decoder.dispose();
  native.dispose();
});

/** Of the tokens from one on, by the Float64 decoder. */
async function logLikelihood(tokenIds: Int32Array, from: number): Promise<number> {
  const logits = await oracleLogits(source, tokenIds);
  let sum = 0;
  for (let place = from; place < tokenIds.length; place++) {
    const row = logits.subarray((place - 1) * vocabSize, place * vocabSize);
    const highest = Math.max(...row);
    const total = row.reduce((all, logit) => all + Math.exp(logit - highest), 0);
    sum += row[tokenIds[place]!]! - highest - Math.log(total);
  }
  return sum;
}
