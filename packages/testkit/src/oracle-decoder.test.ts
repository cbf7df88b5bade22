import { expect, test } from 'vitest';
import { oracleLogits } from './oracle-decoder.ts';
import { createTinyModel, randomTokenIds } from './tiny-model.ts';

test('logits of a prefix do not depend on what follows', async () => {
  const model = createTinyModel({ attentionBias: true, numKeyValueHeads: 2 });
  const ids = randomTokenIds(9, model.shape.vocabSize);
  const whole = await oracleLogits(model, ids);
  const prefix = await oracleLogits(model, ids.slice(0, 5));
  expect(whole.slice(0, prefix.length)).toEqual(prefix);
});

test('a GQA model equals the MHA model with repeated KV heads', async () => {
  const gqa = createTinyModel({ seed: 3, numKeyValueHeads: 2 });
  const mha = createTinyModel({ seed: 3, numKeyValueHeads: 4 });
  for (const [name, tensor] of gqa.dense) mha.dense.set(name, tensor);
  for (const name of [...gqa.dense.keys()].filter((key) => /[kv]_proj/.test(key))) {
    const { shape, data } = gqa.dense.get(name)!;
    const block = data.length / 2;
    const repeated = new Float32Array(2 * data.length);
    [0, 0, 1, 1].forEach((head, place) => {
      repeated.set(data.slice(head * block, (head + 1) * block), place * block);
    });
    mha.dense.set(name, { shape: [shape[0]! * 2, shape[1]!], data: repeated });
  }
  const ids = randomTokenIds(7, gqa.shape.vocabSize);
  expect(await oracleLogits(mha, ids)).toEqual(await oracleLogits(gqa, ids));
});
