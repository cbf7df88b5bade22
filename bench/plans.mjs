// TEMPORARY: which plan wins on a card. node bench/plans.mjs [--smoke] [--seconds 60]
import {
  gatedFeedForward,
  normProject,
  packMatrix,
  packWeights,
  tensor1d,
  tensor2d,
  timeAttention,
  timeProduct,
  tuning,
  unpackWeights,
} from '@kvlr/benchmark';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel, selectBackend } from '@kvlr/runtime';
import { dawnExactTimestamps, prepareNodeRuntime } from '@kvlr/runtime/node';

const smoke = process.argv.includes('--smoke');
const seconds = Number(process.argv[process.argv.indexOf('--seconds') + 1] ?? 100) || 100;
const started = performance.now();
await prepareNodeRuntime({ dawn: [dawnExactTimestamps] });
const choice = await selectBackend({ backend: 'webgpu' });
console.log(choice.reason);
const defaults = JSON.parse(JSON.stringify(tuning));
function apply(plan) {
  for (const part of Object.keys(defaults))
    Object.assign(tuning[part], { words: undefined }, defaults[part], plan[part]);
}
async function row(name, plan, measure) {
  if (performance.now() - started > 1000 * seconds) return;
  apply(plan);
  try {
    const { device, wall, bytesRead } = await measure();
    const time = device ?? wall;
    console.log(
      `${time.toFixed(4)} ms ${(bytesRead / time / 1e6).toFixed(0)} GB/s | ${name} | ${JSON.stringify(plan)}`,
    );
  } catch (error) {
    console.log(`failed | ${name} | ${JSON.stringify(plan)} | ${String(error.message).split('\n')[0]}`);
  }
}
const shapes = smoke
  ? [
      [64, 64, false],
      [64, 64, true],
    ]
  : [
      [4096, 4096, false],
      [22016, 4096, true],
      [4096, 11008, false],
      [12288, 4096, false],
    ];
async function products(format, tokens, plans, use = shapes) {
  for (const [rows, columns, gated] of use) {
    for (const plan of plans) {
      const settings = { format, rows, columns, tokens, gated, leastBytes: smoke ? 1 : 2 ** 28, rounds: smoke ? 1 : 5 };
      await row(`${format} ${tokens} tokens ${rows}x${columns}${gated ? ' gated' : ''}`, { products: plan }, () =>
        timeProduct(settings),
      );
    }
  }
}
async function attention(heads, numKeyValueHeads, headDim, dtype, batch, plans) {
  for (const plan of plans) {
    const context = smoke ? 100 : 32768;
    const settings = {
      numAttentionHeads: heads,
      numKeyValueHeads,
      headDim,
      dtype,
      context,
      batch: smoke ? 1 : batch,
      caches: 2,
      rounds: smoke ? 1 : 5,
    };
    await row(`${dtype} ${heads} heads of ${headDim} over ${numKeyValueHeads}, batch ${batch}`, plan, () =>
      timeAttention(settings),
    );
  }
}
async function check() {
  let state = 1;
  const random = (count, size = 1) =>
    Float32Array.from({ length: count }, () => size * ((state = (state * 48271) % 2147483647) / 2147483647 - 0.5));
  for (const format of ['f32', 'f16', 'int8', 'int4']) {
    for (const [tokens, rows, columns, gated] of smoke
      ? [
          [3, 30, 40, true],
          [9, 30, 300, false],
        ]
      : [
          [1, 4100, 1000, false],
          [5, 1001, 300, true],
          [8, 4100, 1000, false],
          [8, 8001, 520, true],
          [20, 4100, 300, false],
          [32, 501, 2080, true],
        ]) {
      const [x, weight, values, others] = [
        random(tokens * columns),
        random(columns),
        random(rows * columns),
        random(rows * columns),
      ];
      const [matrix, up] = [values, others].map((each) => packMatrix(each, rows, columns, format));
      const [X, norm] = [tensor2d(x, [tokens, columns]), { weight: tensor1d(weight), epsilon: 1e-5 }];
      const result = gated
        ? gatedFeedForward(X, norm, { gate: matrix, up, activation: 'silu' })
        : normProject(X, norm, matrix);
      const got = await result.data();
      const [w, v] = [values, others].map((each) => unpackWeights(packWeights(each, rows, columns, format)));
      let [worst, range] = [0, 0];
      for (let t = 0; t < tokens; t++) {
        let squares = 0;
        for (let c = 0; c < columns; c++) squares += x[t * columns + c] ** 2;
        const factor = 1 / Math.sqrt(squares / columns + 1e-5);
        for (let r = 0; r < rows; r++) {
          let [a, b] = [0, 0];
          for (let c = 0; c < columns; c++) {
            const y = x[t * columns + c] * factor * weight[c];
            a += y * w[r * columns + c];
            if (gated) b += y * v[r * columns + c];
          }
          const value = gated ? (a / (1 + Math.exp(-a))) * b : a;
          range = Math.max(range, Math.abs(value));
          worst = Math.max(worst, Math.abs(value - got[t * rows + r]));
        }
      }
      console.log(
        `${worst / range < 1e-5 ? 'right' : 'WRONG'} ${(worst / range).toExponential(1)} | ${format} ${tokens} tokens ${rows}x${columns}${gated ? ' gated' : ''}`,
      );
      for (const each of [X, norm.weight, result, matrix, up]) each.dispose();
    }
  }
  const source = await openCheckpointDirectory(referenceModelDirectory);
  const model = await loadModel(source, { backend: 'webgpu', weights: 'int8' });
  for (const dtype of ['f32', 'f16', 'int8', 'int4', 'fp8']) {
    const ids = {};
    for (const recorded of [true, false]) {
      const cache = await model.createCache({ capacity: 512, dtype });
      ids[recorded] = [];
      for await (const { id } of model.generate(
        Array.from({ length: smoke ? 12 : 200 }, (_, n) => (7 * n) % 1000),
        { maxNewTokens: smoke ? 3 : 48, cache, recorded },
      ))
        ids[recorded].push(id);
      cache.dispose();
    }
    console.log(
      `${dtype}: ${ids.true.join()} ${ids.true.join() === ids.false.join() ? 'equal step by step' : 'UNEQUAL'}`,
    );
  }
  model.dispose();
}
if (!process.env.PRETEND) await check();
const big = { mostRows: 8, mostSums: 64 };
await products('int4', 8, [{}, big, { mostRows: 2 }, { xAhead: false }, { words: 2 }]);
const decodePlans = [
  {},
  { codes: { halves: false } },
  { decode: { ahead: 0 } },
  { decode: { sums: 32 } },
  { decode: { waves: 4 } },
  { decode: { sums: 32, waves: 4 } },
];
await attention(32, 32, 128, 'int4', 8, decodePlans);
await attention(32, 8, 128, 'int4', 8, decodePlans);
await products('int4', 1, [{}, { piecesAtOnce: 2 }, { leastInvocations: 384 }, { leastInvocations: 768 }]);
await products('int4', 32, [{}, { mostTokens: 16, mostSums: 64 }, { mostTokens: 16 }], shapes.slice(0, 2));
await attention(32, 32, 128, 'int8', 4, decodePlans.slice(0, 5));
await attention(32, 8, 128, 'int8', 8, decodePlans);
await attention(32, 32, 128, 'f16', 2, [{}, { decode: { waves: 4 } }, { decode: { waves: 1 } }]);
await attention(32, 8, 64, 'int8', 8, [{}, { decode: { waves: 4 } }]);
await attention(32, 2, 64, 'int8', 8, [{}, { decode: { sums: 32 } }, { decode: { waves: 4 } }]);
await attention(9, 9, 64, 'f32', 1, [{}, { decode: { waves: 4 } }]);
await products('int8', 8, [{}, big], shapes.slice(0, 2));
await products('f16', 8, [{}, big], shapes.slice(0, 2));
await products('f16', 1, [{}, { leastInvocations: 768 }], shapes.slice(0, 2));
console.log(`${Math.round((performance.now() - started) / 1000)} s`);
process.exit(0);
