// Times the grouping of a layer of 32 heads of width 128 into 8, statistics loaded: as many layers at once as there are
// threads, each on random statistics with planted groups. Build first (`npx tsup` here and in ../core, ../linalg, ../rope,
// ../grouping), then: node bench/grouping.mjs [strategy] [threads]
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { mergeCosts } from '@kvlr/compression';
import { createNormalRandom, createRandom } from '@kvlr/core';
import { groupHeads, namedGroupings } from '@kvlr/grouping';
import { createMatrix, multiplyTransposed } from '@kvlr/linalg';

const heads = 32;
const groups = 8;
const headDim = 128;
const hiddenSize = heads * headDim;
const layers = 32;

if (isMainThread) await timeLayers(process.argv[2] ?? 'lost-energy', Number(process.argv[3] ?? 2));
else await groupOneLayer(workerData);

async function timeLayers(strategy, threads) {
  const workers = Array.from(
    { length: threads },
    (_, thread) => new Worker(new URL(import.meta.url), { workerData: { strategy, seed: thread + 1 } }),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const cpu = process.cpuUsage();
  const start = performance.now();
  const answers = Promise.all(workers.map((worker) => once(worker, 'message')));
  for (const worker of workers) worker.postMessage('start');
  const families = await answers;
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const cpuSeconds = (user + system) / 1e6 / threads;
  console.log(`${strategy}: ${heads} heads of ${headDim} into ${groups}, ${threads} layers at once`);
  console.log(`planted groups found     ${families.map(([found]) => `${found} of ${groups}`).join(', ')}`);
  console.log(`a layer                  ${seconds.toFixed(2)} s, of a processor ${cpuSeconds.toFixed(2)} s`);
  console.log(
    `${layers} layers               ${((layers / threads) * seconds).toFixed(0)} s, of a processor ${(layers * cpuSeconds).toFixed(0)} s`,
  );
}

async function groupOneLayer({ strategy, seed }) {
  const { request, familyOf } = randomLayer(seed);
  const start = once(parentPort, 'message');
  parentPort.postMessage('ready');
  await start;
  const found = await groupHeads(namedGroupings(mergeCosts, 'lost-energy')[strategy].strategy, request);
  parentPort.postMessage(found.filter((group) => new Set(group.map((head) => familyOf[head])).size === 1).length);
}

function randomLayer(seed) {
  const normal = createNormalRandom(seed);
  const gaussians = Float64Array.from({ length: 1 << 20 }, normal);
  const uniform = createRandom(seed + 1);
  /** Numbers from a pool: this fills tens of millions of entries. */
  function randomArray(length, scale = 1) {
    const offset = Math.floor(uniform() * gaussians.length);
    const stride = 2 * Math.floor(uniform() * 1000) + 1;
    return Float64Array.from({ length }, (_, i) => scale * gaussians[(offset + stride * i) % gaussians.length]);
  }

  /** Signals of heads that share 24 directions with the other three of their family, and have noise of their own. */
  function planted(familyOf) {
    const rank = 24;
    const factor = createMatrix(hiddenSize, groups * rank);
    for (let row = 0; row < hiddenSize; row += 1) {
      const family = familyOf[Math.floor(row / headDim)];
      factor.data.set(randomArray(rank), row * groups * rank + family * rank);
    }
    const moment = multiplyTransposed(factor, factor).data;
    for (let row = 0; row < hiddenSize; row += 1) {
      moment[row * (hiddenSize + 1)] += 4 * 0.97 ** (row % headDim) + 0.05;
    }
    return moment;
  }

  const order = Array.from({ length: heads }, (_, head) => head).sort((a, b) => gaussians[a] - gaussians[b]);
  const familyOf = Array.from({ length: heads }, (_, head) => order.indexOf(head) % groups);
  const querySecondMoment = new Float64Array(heads * headDim * headDim);
  for (let row = 0; row < heads * headDim; row += 1) {
    querySecondMoment[row * headDim + (row % headDim)] = 0.2 + uniform();
  }
  const empty = new Float64Array(0);
  const request = {
    layer: 0,
    numKeyValueHeads: heads,
    wanted: groups,
    headDim,
    numAttentionHeads: heads,
    cost: undefined,
    weights: {
      query: empty,
      key: randomArray(hiddenSize * hiddenSize, 0.02),
      value: randomArray(hiddenSize * hiddenSize, 0.02),
      output: randomArray(hiddenSize * hiddenSize, 0.02),
    },
    statistics: {
      layer: 0,
      keySecondMoment: planted(familyOf),
      valueSecondMoment: planted(familyOf),
      querySecondMoment,
    },
  };
  return { request, familyOf };
}
