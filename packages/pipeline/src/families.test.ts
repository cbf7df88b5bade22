import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collectStatistics } from '@kvlr/calibration';
import {
  applyCompression,
  createMemoryFiles,
  findArchitecture,
  type HuggingFaceCheckpoint,
  modelShapeFromConfig,
  openCheckpoint,
  overlayModel,
} from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { compressLayer, readAttentionWeights, resolveMethod } from '@kvlr/compression';
import {
  type CompressedLayer,
  contiguousHeads,
  type DenseTensor,
  type HeadGroups,
  layerTensors,
  type ModelSource,
} from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import {
  asciiTokenizerFiles,
  differenceByRange,
  goldenNames,
  plantMerge,
  randomTokenIds,
  readGolden,
} from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compress } from './compress.ts';
import { foreseeOutcome } from './outcome.ts';
import { parseRecipe } from './recipe.ts';
import { tinyRecipe, tinyTexts } from './testing/tiny-run.ts';

const tolerance = 1e-4;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-families-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function withGolden<Result>(
  name: string,
  use: (golden: HuggingFaceCheckpoint) => Promise<Result>,
): Promise<Result> {
  const golden = await openCheckpointDirectory(readGolden(name).directory);
  try {
    return await use(golden);
  } finally {
    await golden.close();
  }
}

/** The longest prompt in which frequencies of RoPE do not change as it grows, so that a cache gives what the whole prompt does. */
const lastWindow = (name: string) => readGolden(name).windows.findLast(({ decoded }) => decoded === undefined)!;

const text = (vocabSize: number) => [1, 2, 3, 4].map((seed) => randomTokenIds(32, vocabSize, seed));

/** Logits of a model whose layers are compressed by the closed form of the default recipe, written and opened again. */
async function compressedLogits(
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  groups: HeadGroups,
  tokenIds: Int32Array,
): Promise<Float32Array> {
  const { shape } = model;
  const { method } = parseRecipe({});
  const activations = await loadModel(model, { backend: 'wasm' });
  const provenance = { modelId: model.id, textHash: '', seed: 0 };
  const statistics = await collectStatistics({ activations, windows: text(shape.vocabSize), provenance });
  activations.dispose();
  const layers: CompressedLayer[] = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const weights = await readAttentionWeights(model, layer);
    const of = { shape, layer, weights, statistics: statistics.layers[layer] };
    layers.push(compressLayer({ ...of, groups, method: method as string }));
  }
  const output = join(directory, 'output');
  await writeCheckpointDirectory(output, applyCompression(model, layers), { source, overwrite: true });
  const written = await openCheckpointDirectory(output);
  expect(written.shape.layers.map(({ cache }) => cache.keySlots)).toEqual(layers.map(() => groups.length));
  const logits = await logitsOf(written, tokenIds);
  await written.close();
  return logits;
}

/** Logits of a whole window; behind a cache they are the same. */
async function logitsOf(model: ModelSource, tokenIds: Int32Array): Promise<Float32Array> {
  const loaded = await loadModel(model, { backend: 'wasm' });
  const logits = await loaded.logits(tokenIds);
  const cache = await loaded.createCache(tokenIds.length);
  await loaded.extend(cache, tokenIds.subarray(0, -1));
  const last = await loaded.extend(cache, tokenIds.subarray(-1));
  expect(differenceByRange(last, logits.subarray(-last.length))).toBeLessThan(1e-5);
  cache.dispose();
  loaded.dispose();
  return logits;
}

/** The model with a merge of these groups planted in its weights, which loses nothing. */
async function planted(model: HuggingFaceCheckpoint, groups: HeadGroups): Promise<ModelSource> {
  const { shape } = model;
  const tensors = new Map<string, DenseTensor>();
  for (const [layer] of shape.layers.entries()) {
    for (const { role, shape: dimensions } of layerTensors(shape, layer)) {
      if (!/^(key|value|query)/.test(role)) continue;
      const name = model.tensorName(role, layer);
      tensors.set(name, { shape: dimensions, data: (await model.tensors.readFloat32(name)).slice() });
    }
  }
  plantMerge(shape, (role, layer) => tensors.get(model.tensorName(role, layer)), { groups, seed: 1 });
  return overlayModel(model, { shape, tensors, id: `${model.id}, planted` });
}

describe('golden checkpoints of every family, compressed', () => {
  it.each(goldenNames())('%s: keeps its logits with all of its KV heads', async (name) => {
    const { tokenIds } = lastWindow(name);
    await withGolden(name, async (golden) => {
      const groups = contiguousHeads(golden.shape.numKeyValueHeads, 1);
      const expected = await logitsOf(golden, tokenIds);
      expect(differenceByRange(await compressedLogits(golden, golden, groups, tokenIds), expected)).toBeLessThan(
        tolerance,
      );
    });
  });

  /** Those of one KV head have nothing to merge. */
  const merged = goldenNames().filter((name) => !['falcon_mqa', 'gemma', 'llama_headdim'].includes(name));
  it.each(merged)('%s: runs with half of them, and errs', async (name) => {
    const { tokenIds } = lastWindow(name);
    await withGolden(name, async (golden) => {
      const groups = contiguousHeads(golden.shape.numKeyValueHeads, 2);
      const expected = await logitsOf(golden, tokenIds);
      const error = differenceByRange(await compressedLogits(golden, golden, groups, tokenIds), expected);
      expect(error).toBeGreaterThan(tolerance);
      expect(error).toBeLessThan(1);
    });
  });

  /** Clipping is no linear map, and a rotation changes the mean that LayerNorm takes away. */
  const exact = merged.filter((name) => name !== 'olmo' && name !== 'stablelm_qknorm');
  it.each(exact)('%s: loses nothing by a merge that is planted in it', async (name) => {
    const { tokenIds } = lastWindow(name);
    await withGolden(name, async (golden) => {
      const groups = contiguousHeads(golden.shape.numKeyValueHeads, 2);
      const model = await planted(golden, groups);
      const expected = await logitsOf(model, tokenIds);
      const error = differenceByRange(await compressedLogits(model, golden, groups, tokenIds), expected);
      // The scales of a norm over all keys are fitted to calibration text.
      const isFitted = golden.shape.attention.queryKeyNorm?.over === 'projection';
      expect(error).toBeLessThan(isFitted ? 5 * tolerance : tolerance);
    });
  });
});

describe('ALiBi', () => {
  const groups = [
    [0, 2],
    [1, 3],
  ];

  it('takes its slopes along where the groups change the order of heads', async () => {
    const { tokenIds } = lastWindow('bloom');
    await withGolden('bloom', async (golden) => {
      const model = await planted(golden, groups);
      const expected = await logitsOf(model, tokenIds);
      expect(differenceByRange(await compressedLogits(model, golden, groups, tokenIds), expected)).toBeLessThan(
        tolerance,
      );
      const { kvlr } = JSON.parse(await readFile(join(directory, 'output', 'config.json'), 'utf8'));
      const slopes = [0, 2, 1, 3].map((head) => 2 ** (-2 * (head + 1)));
      expect(kvlr.layers).toEqual(golden.shape.layers.map(() => expect.objectContaining({ alibi_slopes: slopes })));
    });
  });

  it('stays stock in a family with a field for KV heads, as long as the order is kept', () => {
    const config = {
      ...{ model_type: 'falcon', alibi: true, new_decoder_architecture: true, vocab_size: 128 },
      ...{ hidden_size: 64, num_hidden_layers: 1, num_attention_heads: 8, num_kv_heads: 4 },
    };
    const architecture = findArchitecture('falcon');
    const shape = modelShapeFromConfig(config, architecture);
    const request = { model: { shape, config }, keyValueHeads: 2, headWidth: 1, uniform: true };
    const method = resolveMethod('rope-averaged');
    expect(foreseeOutcome({ ...request, method, contiguous: true }).loadsInto).not.toHaveProperty('nativeReason');
    expect(foreseeOutcome({ ...request, method, contiguous: false }).loadsInto).toMatchObject({
      nativeReason: 'query heads in an order of their own, which ALiBi tells apart',
    });
  });
});

/** A golden checkpoint with a tokenizer for ASCII. */
async function withTokenizer(name: string): Promise<HuggingFaceCheckpoint> {
  const { directory: folder } = readGolden(name);
  const read = async (file: string) => new Uint8Array(await readFile(join(folder, file)));
  const files = { 'config.json': await read('config.json'), 'model.safetensors': await read('model.safetensors') };
  return openCheckpoint(createMemoryFiles({ ...files, ...asciiTokenizerFiles() }));
}

describe('the whole pipeline', () => {
  const native = (family: string) => `kvlr only (${family} models hold as many KV heads as query heads)`;
  const families: [name: string, grouping: string, notes: string[]][] = [
    ['qwen3', 'contiguous', ['Keys are merged approximately: norm between projection and RoPE.']],
    ['gemma3_text', 'contiguous', ['Keys are merged approximately: norm between projection and RoPE.']],
    ['olmo2', 'contiguous', ['Keys are merged approximately: norm between projection and RoPE.']],
    ['stablelm_qknorm', 'contiguous', ['Keys are merged approximately: norm between projection and RoPE.']],
    ['olmo', 'contiguous', ['Keys are merged approximately: clipping between projection and RoPE.']],
    [
      'gpt2',
      'lost-energy',
      ['Loads into kvlr, and llama.cpp through GGUF (gpt2 models hold as many KV heads as query heads).'],
    ],
    ['bloom', 'lost-energy', [`Loads into ${native('bloom')}.`]],
    ['bloom_heads6', 'contiguous', [`Loads into ${native('bloom')}.`]],
    ['mpt_alibi', 'measured-error', [`Loads into ${native('mpt')}.`]],
    ['gptj', 'measured-error', [`Loads into ${native('gptj')}.`]],
    ['opt_postnorm', 'contiguous', [`Loads into ${native('opt')}.`]],
    ['llama_dynamic', 'contiguous', []],
    ['falcon_new', 'contiguous', []],
    ['phi3_partial', 'contiguous', []],
    ['smollm3', 'contiguous', []],
    ['cohere', 'contiguous', []],
  ];

  it.each(families)('%s, groups %s: reconstructs blocks, evaluates and says what is to be known', async (...of) => {
    const [name, grouping, notes] = of;
    const model = await withTokenizer(name);
    const recipe = { ...tinyRecipe, grouping, evaluation: { windowsPerSource: 1, windowLength: 33 } };
    const told: string[] = [];
    const result = await compress({
      ...{ model, recipe, texts: tinyTexts, runtime: { backend: 'wasm' } },
      onEvent: (event) => event.type === 'note' && told.push(`${event.message}.`),
    });
    expect(result.report.notes).toEqual(expect.arrayContaining(notes));
    expect(told).toEqual(expect.arrayContaining(notes));
    for (const { heldOutBefore, heldOutAfter } of result.report.reconstruction!) {
      expect(heldOutAfter).toBeLessThanOrEqual(heldOutBefore);
    }
    expect(result.evaluation!.result.perplexity.value).toBeLessThan(1e4);
  });

  it.each([
    ['gemma2', /The closed forms alone: output projections are refitted only where/],
    ['bloom_heads6', /The closed forms alone: output projections are refitted only where/],
    ['llama_gqa_bias', /Output projections refitted in closed form/],
  ])('%s: says whether output projections were refitted', async (name, note) => {
    const model = await withTokenizer(name);
    const recipe = { ...tinyRecipe, recovery: { ...tinyRecipe.recovery, preset: 'refit' as const, steps: 0 } };
    const { report } = await compress({ model, recipe, texts: tinyTexts, runtime: { backend: 'wasm' } });
    expect(report.notes?.join(' ')).toMatch(note);
  });
});
