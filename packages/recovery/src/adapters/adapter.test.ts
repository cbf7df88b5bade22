import { createMemoryFiles } from '@kvlr/checkpoint';
import { createDirectoryFiles, openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createNormalRandom, KvlrError, type ModelSource } from '@kvlr/core';
import { createSequenceContext, disposeDecoder, loadModel, readOut, selectBackend, uploadDecoder } from '@kvlr/runtime';
import {
  createTinyModel,
  differenceByRange,
  expectClose,
  expectKvlrError,
  type GoldenWindow,
  oracleLogits,
  randomTokenIds,
  readGolden,
} from '@kvlr/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { lastStream } from '../distillation/streams.ts';
import { LowRankAdapters } from '../training/low-rank-adapters.ts';
import { type TrainingTarget, trainingTargets, weightRole } from '../training/targets.ts';
import { type Adapter, mergeAdapter, targetsOf } from './adapter.ts';
import { encodePeftAdapter, peftFileNames, readPeftAdapter } from './peft.ts';

const model = createTinyModel({ seed: 6, numKeyValueHeads: 2, attentionBias: true });

beforeAll(() => selectBackend({ backend: 'cpu' }));

/** Random adapters, far from zero. */
function randomAdapter(source: ModelSource, targets: readonly TrainingTarget[] = trainingTargets): Adapter {
  const normal = createNormalRandom(9);
  const numbers = (rows: number, columns: number) => ({
    shape: [rows, columns],
    data: Float32Array.from({ length: rows * columns }, () => 0.2 * normal()),
  });
  const layers = source.shape.layers.map((_, layer) => {
    const updates = targets.map((target) => {
      const [outputs, width] = source.tensors.info(source.tensorName(weightRole(target), layer)).shape;
      return [target, { down: numbers(3, width!), up: numbers(outputs!, 3) }] as const;
    });
    return new Map(updates);
  });
  return { rank: 3, alpha: 4.5, dropout: 0.1, layers };
}

it('merges into weights whose logits are those of the adapted model', async () => {
  const adapter = randomAdapter(model);
  const tokenIds = randomTokenIds(9, model.shape.vocabSize, 1);
  const decoder = await uploadDecoder(model);
  const context = createSequenceContext({ shape: model.shape, batch: 1, tokens: 9 });
  const layers = decoder.layers.map((weights, layer) => {
    return new LowRankAdapters(weights, { ...adapter, targets: trainingTargets, seed: 1 }, adapter.layers[layer]);
  });
  const counted = new Uint8Array(9).fill(1);
  const stream = await lastStream(decoder, [{ tokenIds, counted }], { context, layers });
  const adapted = await readOut(stream, decoder).data();
  const merged = await oracleLogits(await mergeAdapter(model, adapter), tokenIds);
  expectClose(adapted, merged, 1e-5);
  for (const [layer, trained] of layers.entries()) {
    for (const [name, { data }] of await trained.download(model, layer, decoder.layers[layer]!)) {
      const tensors = (await mergeAdapter(model, adapter)).tensors;
      expectClose(data, await tensors.readFloat32(name), 1e-6);
    }
  }
  expect(
    Math.max(...(await oracleLogits(model, tokenIds)).map((value, index) => Math.abs(value - merged[index]!))),
  ).toBeGreaterThan(0.1);
  disposeDecoder(decoder);
});

describe('peft and kvlr read each other', () => {
  /** As scripts/oracles/peft makes them. */
  it.each([
    ['from-kvlr', 'llama_gqa_bias', 7],
    ['from-peft', 'qwen3', 3],
  ])('%s over %s', async (name, base, targetCount) => {
    const golden = readGolden(name, 'goldens-adapters');
    const [{ tokenIds, logits }] = golden.windows as [GoldenWindow];
    const checkpoint = await openCheckpointDirectory(readGolden(base).directory);
    const files = createDirectoryFiles(golden.directory);
    const adapter = await readPeftAdapter(files, checkpoint);
    expect(targetsOf(adapter)).toHaveLength(targetCount);
    const merged = await mergeAdapter(checkpoint, adapter);
    const runtime = await loadModel(merged, { backend: 'cpu' });
    expect(differenceByRange(await runtime.logits(tokenIds), logits)).toBeLessThan(1e-5);
    runtime.dispose();
    const written = encodePeftAdapter(adapter, checkpoint, 'anywhere');
    const again = await readPeftAdapter(createMemoryFiles(written), checkpoint);
    expect(again).toEqual(adapter);
    await checkpoint.close();
  });
});

describe('the files of peft', () => {
  const filesOf = (adapter: Adapter) => encodePeftAdapter(adapter, model, 'base');
  const configOf = (adapter: Adapter) => JSON.parse(new TextDecoder().decode(filesOf(adapter)[peftFileNames.config]));

  it('are read back as they were written', async () => {
    const adapter = randomAdapter(model, ['q_proj', 'down_proj']);
    const read = await readPeftAdapter(createMemoryFiles(filesOf(adapter)), model);
    expect(read).toEqual(adapter);
    expect(targetsOf(read)).toEqual(['q_proj', 'down_proj']);
    expect(configOf(adapter)).toMatchObject({
      ...{ peft_type: 'LORA', r: 3, lora_alpha: 4.5, target_modules: ['q_proj', 'down_proj'] },
    });
  });

  it('may scale by the root of the rank', async () => {
    const adapter = randomAdapter(model);
    const config = JSON.stringify({ ...configOf(adapter), use_rslora: true });
    const read = await readPeftAdapter(
      createMemoryFiles({ ...filesOf(adapter), [peftFileNames.config]: config }),
      model,
    );
    expect(read.alpha / read.rank).toBeCloseTo(4.5 / Math.sqrt(3), 12);
  });

  it.each([
    [{ peft_type: 'IA3' }, 'peft_type'],
    [{ use_dora: true }, 'use_dora'],
    [{ rank_pattern: { q_proj: 2 } }, 'rank_pattern'],
    [{ bias: 'all' }, 'bias'],
    [{ modules_to_save: ['lm_head'] }, 'modules_to_save'],
  ])('are refused with %j', async (changes, entry) => {
    const adapter = randomAdapter(model);
    const config = JSON.stringify({ ...configOf(adapter), ...changes });
    const files = createMemoryFiles({ ...filesOf(adapter), [peftFileNames.config]: config });
    await expectKvlrError(() => readPeftAdapter(files, model), 'unsupported-feature', new RegExp(entry));
  });

  it.each([
    { r: 0 },
    { r: -1 },
    { r: 1.5 },
    { r: 1e9 },
    { r: null },
    { r: '3' },
    { lora_alpha: 0 },
    { lora_alpha: null },
    { lora_dropout: 1 },
    { lora_dropout: {} },
  ])('are refused with %j', async (changes) => {
    const adapter = randomAdapter(model);
    const config = JSON.stringify({ ...configOf(adapter), ...changes });
    const files = createMemoryFiles({ ...filesOf(adapter), [peftFileNames.config]: config });
    const error = await readPeftAdapter(files, model).catch((thrown) => thrown);
    expect(error.code).toMatch(/^(file-malformed|invalid-argument)$/);
  });

  it('end in an adapter or a typed error, whatever is wrong with their bytes', async () => {
    const sound = filesOf(randomAdapter(model, ['q_proj', 'down_proj']));
    const damage = fc.record({
      name: fc.constantFrom(peftFileNames.config, peftFileNames.tensors),
      places: fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), fc.nat(255)), {
        maxLength: 4,
      }),
      length: fc.double({ min: 0.5, max: 1, noNaN: true }),
      within: fc.constantFrom(600, Number.POSITIVE_INFINITY),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ name, places, length, within }) => {
        const bytes = Uint8Array.from(sound[name]).slice(0, Math.ceil(length * sound[name].length));
        const reached = Math.min(within, bytes.length);
        for (const [place, byte] of places) bytes[Math.floor(place * reached)] = byte;
        try {
          await mergeAdapter(model, await readPeftAdapter(createMemoryFiles({ ...sound, [name]: bytes }), model));
        } catch (error) {
          if (!KvlrError.isInstance(error)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('are refused where they belong to another model', async () => {
    const files = createMemoryFiles(filesOf(randomAdapter(model)));
    const shallow = createTinyModel({ numLayers: 1, numKeyValueHeads: 2 });
    await expectKvlrError(() => readPeftAdapter(files, shallow), 'unsupported-feature', /layers\.1/);
    const more = createTinyModel({ numKeyValueHeads: 4 });
    await expectKvlrError(() => readPeftAdapter(files, more), 'invalid-argument', /expected an adapter of/);
  });
});

describe('a wrong adapter', () => {
  const sound = randomAdapter(model);
  const short = new Map(
    [...sound.layers[0]!].map(([target, { down, up }]) => [target, { down, up: { ...up, data: new Float32Array(1) } }]),
  );
  it.each([
    ['null', null],
    ['a number', 7],
    ['nothing', {}],
    ...[0, -1, 1.5, 1e9, Number.NaN, null].map((rank): [string, unknown] => [`rank ${rank}`, { ...sound, rank }]),
    ...[0, -1, Number.NaN, null].map((alpha): [string, unknown] => [`alpha ${alpha}`, { ...sound, alpha }]),
    ['no layers', { ...sound, layers: null }],
    ['layers of another kind', { ...sound, layers: [{}, {}] }],
    ['too few layers', { ...sound, layers: sound.layers.slice(1) }],
    ['too few numbers', { ...sound, layers: [short, short] }],
  ])('is refused: %s', async (_, adapter) => {
    await expectKvlrError(() => mergeAdapter(model, adapter as Adapter), 'invalid-argument');
    expectKvlrError(() => encodePeftAdapter(adapter as Adapter, model, ''), 'invalid-argument');
  });
});
