// Times statistics and logits of the embedded model with one thread and with several, in turns, in one run; the numbers
// must be equal. Build first, then: node bench/workers.mjs [threads] [windows] [rounds]
import { fileURLToPath } from 'node:url';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createRandom } from '@kvlr/core';
import { createWorkerPool } from '@kvlr/pipeline/node';
import { selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';

const [threads = 2, windowCount = 16, rounds = 3] = process.argv.slice(2).map(Number);
await prepareNodeRuntime();
await selectBackend({ backend: 'wasm' });
const model = await openCheckpointDirectory(fileURLToPath(new URL('../../reference-model/model', import.meta.url)));
const random = createRandom(1);
const { vocabSize } = model.shape;
const windows = Array.from({ length: windowCount }, () =>
  Int32Array.from({ length: 512 }, () => Math.floor(random() * vocabSize)),
);
const provenance = { modelId: model.id, textHash: 'random', seed: 1 };
const pools = [createWorkerPool(1), createWorkerPool(threads)];
const loaded = await Promise.all(pools.map((pool) => pool.load(model, 'wasm')));

/** Four windows a part, as calibration takes them. */
const parts = Array.from({ length: Math.ceil(windowCount / 4) }, (_, part) => windows.slice(4 * part, 4 * part + 4));
const tasks = {
  statistics: (workers) =>
    Promise.all(parts.map((part) => workers.collectStatistics({ windows: part, provenance }))).then((all) =>
      all.flatMap(({ layers }) => layers.map(({ keySecondMoment }) => keySecondMoment[0])),
    ),
  logits: (workers) =>
    Promise.all(windows.map((window) => workers.logits(window))).then((all) => all.map((logits) => logits[100])),
};
for (const [name, run] of Object.entries(tasks)) {
  const seconds = [[], []];
  for (let round = 0; round < rounds; round++) {
    const answers = [];
    for (const [index, workers] of loaded.entries()) {
      const start = performance.now();
      answers.push((await run(workers)).join());
      seconds[index].push((performance.now() - start) / 1000);
    }
    if (answers[0] !== answers[1])
      throw new Error(`${name}: the numbers of ${threads} threads differ from those of one`);
  }
  const [one, several] = seconds.map((times) => times.sort((a, b) => a - b)[Math.floor(rounds / 2)]);
  console.log(
    `${name}: ${windowCount} windows of 512, median of ${rounds}: ${one.toFixed(2)} s with 1 thread, ${several.toFixed(2)} s with ${threads}: ${(one / several).toFixed(2)} x`,
  );
}
await Promise.all(pools.map((pool) => pool.close()));
await model.close();
