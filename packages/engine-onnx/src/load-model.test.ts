import {
  createNormalRandom,
  type LayerActivations,
  type LayerCacheLayout,
  layerTensors,
  type TapName,
} from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import {
  createTinyModel,
  differenceByRange,
  expectKvlrError,
  oracleLogits,
  randomTokenIds,
  type TinyModel,
} from '@kvlr/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadOnnxModel } from './load-model.ts';
import { OnnxDecoder } from './onnx-decoder.ts';

/** A tiny model of eight query and four KV heads of 8, whose layers have this cache layout and random weights to fit it. */
function createModelOfLayout(layout: LayerCacheLayout): TinyModel {
  const base = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 4, headDim: 8 });
  const layers = base.shape.layers.map((layer) => ({ ...layer, cache: layout }));
  const shape = { ...base.shape, layers };
  const normal = createNormalRandom(3);
  for (const { role, layer, shape: sizes } of layers.flatMap((_, layer) => layerTensors(shape, layer))) {
    const count = sizes.reduce((product, size) => product * size, 1);
    base.dense.set(base.tensorName(role, layer), {
      shape: sizes,
      data: Float32Array.from({ length: count }, () => 0.3 * normal()),
    });
  }
  return { ...base, shape };
}

const layouts: Record<string, LayerCacheLayout> = {
  'grouped heads': { keys: 'stock', keySlots: 2, keySlotWidth: 8, valueSlots: 2, valueSlotWidth: 8 },
  'fewer key heads than value heads': { keys: 'stock', keySlots: 1, keySlotWidth: 8, valueSlots: 4, valueSlotWidth: 8 },
  'latent keys, one basis': { keys: 'latent', keySlots: 1, keySlotWidth: 12, valueSlots: 2, valueSlotWidth: 8 },
  'latent keys, a basis per group': { keys: 'latent', keySlots: 2, keySlotWidth: 6, valueSlots: 2, valueSlotWidth: 6 },
  'rebuilt keys, one slot': { keys: 'rebuilt', keySlots: 1, keySlotWidth: 12, valueSlots: 4, valueSlotWidth: 6 },
  'rebuilt keys, a slot per group': { keys: 'rebuilt', keySlots: 2, keySlotWidth: 6, valueSlots: 4, valueSlotWidth: 6 },
};
const taps: TapName[] = ['stream', 'blockInput', 'query', 'key', 'value', 'attended', 'blockOutput'];
const ids = randomTokenIds(23, 50);

describe.each(Object.entries(layouts))('%s', (_, layout) => {
  const source = createModelOfLayout(layout);
  beforeAll(async () => {
    await prepareNodeRuntime();
  });

  it("gives the Float64 decoder's logits", async () => {
    const model = await loadOnnxModel(source, { threads: 1 });
    expect(differenceByRange(await model.logits(ids), await oracleLogits(source, ids))).toBeLessThan(1e-5);
    model.dispose();
  });

  it('runs texts with one beginning as if each stood alone', async () => {
    const model = await loadOnnxModel(source, { threads: 1 });
    const [prefix, branches] = [ids.subarray(0, 9), [ids.subarray(9, 12), ids.subarray(12, 19), ids.subarray(19)]];
    let first = prefix.length;
    for (const branch of branches) {
      const rows = Array.from({ length: branch.length }, (_, place) => first + place);
      const received = await model.branchLogits({ prefix, branches }, [prefix.length - 1, ...rows]);
      const alone = await model.logits(Int32Array.of(...prefix, ...branch));
      const expected = alone.subarray((prefix.length - 1) * model.vocabSize);
      expect(differenceByRange(received, expected)).toBeLessThan(1e-6);
      first += branch.length;
    }
    model.dispose();
  });

  it("shows TensorFlow.js's activations", async () => {
    const [native, reference] = [
      await loadOnnxModel(source, { threads: 1 }),
      await loadModel(source, { backend: 'wasm' }),
    ];
    const shown: LayerActivations[] = [];
    const expected: LayerActivations[] = [];
    await native.forEachLayer(ids, taps, (activations) => void shown.push(activations));
    await reference.forEachLayer(ids, taps, (activations) => void expected.push(activations));
    expect(shown.map(({ layer, tokens }) => [layer, tokens])).toEqual(
      expected.map(({ layer, tokens }) => [layer, tokens]),
    );
    for (const [layer, activations] of shown.entries()) {
      for (const tap of taps) expect(differenceByRange(activations[tap]!, expected[layer]![tap]!)).toBeLessThan(1e-5);
    }
    native.dispose();
    reference.dispose();
  });
});

describe('a model in native code', () => {
  const source = createTinyModel({ numKeyValueHeads: 2 });

  it('runs windows of any length, one after another', async () => {
    const model = await loadOnnxModel(source);
    const alone = await model.logits(ids);
    await model.logits(ids.slice(0, 7));
    expect(await model.logits(ids)).toEqual(alone);
    model.dispose();
  });

  it('reads a large head in pieces to the same logits', async () => {
    const decoders = [
      await OnnxDecoder.open(source),
      await OnnxDecoder.open(source, { residentTableBytes: 4 * 7 * source.shape.hiddenSize }),
    ];
    const stream = await (await decoders[0]!.loadEmbedding()).stream(ids);
    const [whole, pieces] = await Promise.all(
      decoders.map(async (decoder) => (await decoder.loadHead()).logits(stream)),
    );
    expect(differenceByRange(pieces!, whole!)).toBeLessThan(1e-6);
    for (const decoder of decoders) decoder.close();
  });

  it('refuses what is no window of it', async () => {
    const model = await loadOnnxModel(source);
    const { maxPositionEmbeddings } = source.shape;
    const refused = (tokens: Int32Array, message: RegExp) =>
      expectKvlrError(() => model.logits(tokens), 'invalid-argument', message);
    await refused(randomTokenIds(maxPositionEmbeddings + 1, 50), /expected 1 to \d+ token ids.*got \d+ of them/);
    await refused(Int32Array.of(), /got 0 of them/);
    await refused(Int32Array.of(1, 50), /got id 50/);
    model.dispose();
    await refused(ids, /got a disposed one/);
  });
});

describe('a wrong argument', async () => {
  const any = (value: unknown) => value as never;
  const source = createTinyModel();
  const model = await loadOnnxModel(source, { threads: 1 });
  const misuses: [string, () => unknown][] = [
    ...[null, undefined, 7, {}].map((value): [string, () => unknown] => [
      `a model that is ${JSON.stringify(value)}`,
      () => loadOnnxModel(any(value)),
    ]),
    ...[0, -1, 1.5, 1e9, Number.NaN, null, '2'].map((threads): [string, () => unknown] => [
      `${threads} threads`,
      () => loadOnnxModel(source, { threads: any(threads) }),
    ]),
    ...[0, -1, Number.NaN, null].map((bytes): [string, () => unknown] => [
      `a table of ${bytes} bytes`,
      () => loadOnnxModel(source, { residentTableBytes: any(bytes) }),
    ]),
    ...[null, undefined, 7, [1], { length: 1e9 }, new Int32Array(), Int32Array.of(-1), Int32Array.of(1e9)].map(
      (ids): [string, () => unknown] => [`logits of ${JSON.stringify(ids)}`, () => model.logits(any(ids))],
    ),
    ['logits past the last position', () => model.logits(new Int32Array(1000))],
    ['activations of nothing', () => model.forEachLayer(any(null), [], () => {})],
  ];

  it.each(misuses)('is refused: %s', async (_, misuse) => {
    await expectKvlrError(async () => misuse(), 'invalid-argument');
  });

  it('is a model that is disposed', async () => {
    model.dispose();
    await expectKvlrError(() => model.logits(Int32Array.of(1)), 'invalid-argument', 'disposed');
    model.dispose();
  });
});
