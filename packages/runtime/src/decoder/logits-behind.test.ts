import { createTinyModel, differenceByRange, expectKvlrError, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { loadModel } from './load-model.ts';

const source = createTinyModel({ numKeyValueHeads: 2 });
const ids = randomTokenIds(30, 50);

it('gives the logits after every new token behind a cache, as the whole text has them', async () => {
  const model = await loadModel(source, { backend: 'cpu', weights: 'f32' });
  const expected = await oracleLogits(source, ids);
  const cache = await model.createCache();
  await model.extend(cache, ids.subarray(0, 11));
  const logits = await model.logitsBehind(cache, ids.subarray(11));
  expect(differenceByRange(logits, expected.subarray(11 * model.vocabSize))).toBeLessThan(1e-5);
  expect(cache.length).toBe(30);

  cache.truncate(11);
  expect(await model.logitsBehind(cache, ids.subarray(11))).toEqual(logits);
  cache.dispose();
  model.dispose();
});

it('sees with a window what tokens one by one see', async () => {
  const model = await loadModel(source, { backend: 'cpu', weights: 'f32', cache: { window: 6, sinks: 2 } });
  const [together, oneByOne] = [await model.createCache(), await model.createCache()];
  const logits = await model.logitsBehind(together, ids);
  for (const [place, id] of ids.entries()) {
    const row = logits.subarray(place * model.vocabSize, (place + 1) * model.vocabSize);
    expect(differenceByRange(row, await model.extend(oneByOne, [id]))).toBeLessThan(1e-5);
  }
  const batch = await model.createCache({ batch: 2 });
  await expectKvlrError(() => model.logitsBehind(batch, ids), 'invalid-argument', /one sequence, got one of 2/);
  for (const cache of [together, oneByOne, batch]) cache.dispose();
  model.dispose();
});
