import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KvlrEvent, ModelSource } from '@kvlr/core';
import { widenHeads } from '@kvlr/rope';
import { createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findArchitecture } from '../architectures/families.ts';
import { readChatTemplates } from '../chat-templates.ts';
import { configFromModelShape } from '../config/write-config.ts';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { applyCompression, overlayModel } from '../model/variant.ts';
import { plannedBytes, planTensors } from '../model/written-tensors.ts';
import { encodeSafetensors } from '../safetensors/write.ts';
import { randomCompressedLayer } from '../testing/compressed-layer.ts';
import { editJson, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { openCheckpointDirectory } from './open.ts';
import { replacePath } from './replace.ts';
import { writeCheckpointDirectory } from './write.ts';

let parent: string;
let directory: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kvlr-checkpoint-'));
  directory = join(parent, 'out');
});
afterEach(() => rm(parent, { recursive: true }));

const openTiny = async (dtype: 'F32' | 'F16' | 'BF16' = 'F16') =>
  openCheckpoint(createMemoryFiles(await tinyCheckpointFiles({ dtype })));

const halve = (base: ModelSource) =>
  applyCompression(
    base,
    base.shape.layers.map((_, layer) => randomCompressedLayer(base.shape, { layer, groups: 2 })),
  );

const encodeFloatBytes = (values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

const readText = (name: string) => readFile(join(directory, name), 'utf8');

describe('writeCheckpointDirectory', () => {
  it('writes a checkpoint that opens to the same model, unchanged tensors bit for bit', async () => {
    const source = await openTiny();
    await writeCheckpointDirectory(directory, source, { source });
    const copy = await openCheckpointDirectory(directory);
    expect(copy.shape).toEqual(source.shape);
    for (const { name, dtype } of source.tensors.list()) {
      expect(copy.tensors.info(name).dtype).toBe(dtype);
      expect(await copy.tensors.readBytes(name)).toEqual(await source.tensors.readBytes(name));
    }
    expect((await copy.tokenizer()).encode('the sea')).toEqual((await source.tokenizer()).encode('the sea'));
    await copy.close();
    expect((await readdir(parent)).sort()).toEqual(['out']);
  });

  it('writes fewer heads as a plain Hugging Face checkpoint, in the type of the source', async () => {
    const source = await openTiny();
    const half = halve(source);
    const events: KvlrEvent[] = [];
    await writeCheckpointDirectory(directory, half, {
      source,
      extraFiles: { 'recipe.yaml': 'method: x\n', 'README.md': '# new card' },
      onEvent: (event) => events.push(event),
    });
    const config = JSON.parse(await readText('config.json'));
    expect(config).toMatchObject({ model_type: 'llama', num_key_value_heads: 2, torch_dtype: 'float16' });
    expect(config.kvlr).toBeUndefined();
    expect((await readdir(directory)).sort()).toEqual([
      '.kvlr',
      'README.md',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'recipe.yaml',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(await readText('README.md')).toBe('# new card');
    const written = await openCheckpointDirectory(directory);
    expect(written.shape).toEqual(half.shape);
    expect(written.tensors.info(written.tensorName('keyWeight', 1))).toMatchObject({ dtype: 'F16', shape: [16, 24] });
    await written.close();
    const last = events.at(-1);
    expect(last).toMatchObject({ type: 'progress', completed: plannedBytes(half, { source }) });
    expect(last).toMatchObject({ total: plannedBytes(half, { source }) });
  });

  it.each(['rope_scaling', 'rope_parameters'] as const)('writes wide heads in the spelling of %s', async (spelling) => {
    const files = await tinyCheckpointFiles();
    editJson(files, 'config.json', (config) => {
      if (spelling === 'rope_scaling') return;
      config.rope_parameters = { rope_theta: config.rope_theta, rope_type: 'default' };
      delete config.rope_theta;
      delete config.rope_scaling;
    });
    const source = await openCheckpoint(createMemoryFiles(files));
    const wide = applyCompression(
      source,
      source.shape.layers.map((_, layer) => randomCompressedLayer(source.shape, { layer, groups: 1, headWidth: 2 })),
    );
    await writeCheckpointDirectory(directory, wide, { source });
    const config = JSON.parse(await readText('config.json'));
    expect(config).toMatchObject({ model_type: 'llama', head_dim: 16, num_key_value_heads: 1 });
    const theta = spelling === 'rope_scaling' ? { rope_theta: 10000 } : { rope_parameters: { rope_theta: 10000 } };
    expect(config).toMatchObject(theta);
    expect(config[spelling]).toMatchObject({
      rope_type: 'longrope',
      ...{ factor: 1, attention_factor: 1, original_max_position_embeddings: 128 },
      short_factor: config[spelling].long_factor,
    });
    const written = await openCheckpointDirectory(directory);
    expect(written.shape).toEqual(wide.shape);
    await written.close();
  });

  it('refuses wide heads in a family whose config does not tell of them', async () => {
    const files = await tinyCheckpointFiles();
    const source = await openCheckpoint(createMemoryFiles(files));
    const wide = widenHeads(source.shape, 2);
    const phi3 = findArchitecture('phi3');
    const error = expectKvlrError(
      () => configFromModelShape(wide, { ...source.architecture, wideHeads: phi3.wideHeads }, 'float32', source.config),
      'unsupported-feature',
    );
    expect(error.data).toEqual({ architecture: 'llama' });
  });

  it.each(['F32', 'F16', 'BF16'] as const)('writes all weights as %s on demand', async (dtype) => {
    const source = await openTiny('F32');
    await writeCheckpointDirectory(directory, halve(source), { source, dtype });
    const written = await openCheckpointDirectory(directory);
    expect(new Set(written.tensors.list().map((info) => info.dtype))).toEqual(new Set([dtype]));
    await written.close();
  });

  it('shards over the size limit, so that the index finds every tensor', async () => {
    const source = await openTiny();
    await writeCheckpointDirectory(directory, source, { source, maxShardBytes: 10_000 });
    const shards = (await readdir(directory)).filter((name) => name.endsWith('.safetensors'));
    expect(shards.length).toBeGreaterThan(2);
    expect(shards[0]).toBe(`model-00001-of-0000${shards.length}.safetensors`);
    const index = JSON.parse(await readText('model.safetensors.index.json'));
    expect(index.metadata.total_size).toBe(plannedBytes(source, { source }));
    const written = await openCheckpointDirectory(directory);
    for (const { name } of source.tensors.list()) {
      expect(await written.tensors.readBytes(name)).toEqual(await source.tensors.readBytes(name));
    }
    await written.close();
  });

  it.each([
    ['latent keys', { groups: 2, latentRank: 12 }],
    ['rebuilt keys', { groups: 2, rebuiltRank: 5 }],
    ['head counts that differ by layer', { groups: 1 }],
  ])('keeps %s in a kvlr section that opens to the same shape', async (_, settings) => {
    const source = await openTiny();
    const variant = applyCompression(source, [randomCompressedLayer(source.shape, { layer: 1, ...settings })]);
    await writeCheckpointDirectory(directory, variant, { source });
    expect(JSON.parse(await readText('config.json'))).toMatchObject({
      model_type: 'kvlr',
      kvlr: { model_type: 'llama' },
    });
    const written = await openCheckpointDirectory(directory);
    expect(written.shape).toEqual(variant.shape);

    const again = join(parent, 'again');
    await writeCheckpointDirectory(again, halve(overlayModel(written, { ...source, tensors: new Map() })), {
      source: written,
    });
    const stock = await openCheckpointDirectory(again);
    expect(stock.config).toMatchObject({ model_type: 'llama', num_key_value_heads: 2 });
    expect(stock.tensors.list().map(({ name }) => name)).toEqual(source.tensors.list().map(({ name }) => name));
    await stock.close();
    await written.close();
  });

  it('brings every chat template along', async () => {
    const templates = { 'chat_template.jinja': 'A', 'additional_chat_templates/tool_use.jinja': 'B' };
    const source = await openCheckpoint(createMemoryFiles({ ...(await tinyCheckpointFiles()), ...templates }));
    await writeCheckpointDirectory(directory, source, { source });
    const written = await openCheckpointDirectory(directory);
    expect([...(await readChatTemplates(written.files))]).toEqual([
      ['default', 'A'],
      ['tool_use', 'B'],
    ]);
    await written.close();
  });

  it('copies what the decoder does not use, and leaves out what may belong to the old heads', async () => {
    const files = await tinyCheckpointFiles();
    const { tensors } = await openCheckpoint(createMemoryFiles(files));
    const extra = (name: string, values: number[]) => {
      return { name, dtype: 'F32' as const, shape: [values.length], bytes: encodeFloatBytes(values) };
    };
    const kept = await Promise.all(
      tensors.list().map(async (info) => ({ ...info, bytes: await tensors.readBytes(info.name) })),
    );
    const mask = 'model.causal_mask';
    const scale = 'model.layers.0.self_attn.k_scale';
    const bias = 'model.layers.0.self_attn.k_proj.bias';
    const infinite = [Number.NEGATIVE_INFINITY, Number.NaN];
    const weights = encodeSafetensors([...kept, extra(mask, infinite), extra(scale, infinite), extra(bias, [1])]);
    const source = await openCheckpoint(createMemoryFiles({ ...files, 'model.safetensors': weights }));
    await writeCheckpointDirectory(directory, halve(source), { source, dtype: 'F16' });
    const written = await openCheckpointDirectory(directory);
    expect(await written.tensors.readBytes(mask)).toEqual(encodeFloatBytes(infinite));
    expect([scale, bias].filter((name) => written.tensors.has(name))).toEqual([]);
    await written.close();
    const unchanged = planTensors(source, { source }).map(({ name }) => name);
    expect([mask, scale, bias].map((name) => unchanged.includes(name))).toEqual([true, true, false]);
  });

  it('writes weights of F64 as F32, changed or not', async () => {
    const source = await openTiny('F32');
    const name = source.tensorName('upWeight', 0);
    const data = Float64Array.from(await source.tensors.readFloat32(name));
    const shape = source.tensors.info(name).shape;
    const wide = overlayModel(source, { shape: source.shape, tensors: new Map([[name, { shape, data }]]), id: 'wide' });
    const [planned] = planTensors(wide, { source: wide }).filter((tensor) => tensor.name === name);
    expect(wide.tensors.info(name).dtype).toBe('F64');
    expect(planned!.dtype).toBe('F32');
    expect(await planned!.read()).toEqual(await source.tensors.readBytes(name));
  });

  it('writes a model that has no files', async () => {
    const model = createTinyModel({
      attentionBias: true,
      tieWordEmbeddings: true,
      rope: { type: 'linear', theta: 5000, factor: 2 },
    });
    await writeCheckpointDirectory(directory, model);
    const written = await openCheckpointDirectory(directory);
    expect(written.shape).toEqual(model.shape);
    await written.close();
  });
});

describe('writeCheckpointDirectory leaves no half-written output', () => {
  const expectUntouched = async () => {
    expect(await readdir(parent)).toEqual(['out']);
    expect(await readText('config.json')).toBe('{}');
  };
  const makePrevious = async () => {
    await replacePath(directory, { kind: 'directory' }, (partial) => writeFile(join(partial, 'config.json'), '{}'));
  };

  it('refuses an output that exists', async () => {
    const source = await openTiny();
    await makePrevious();
    await expectKvlrError(() => writeCheckpointDirectory(directory, source, { source }), 'file-exists', directory);
    await expectUntouched();
  });

  it('replaces a previous checkpoint on demand, and only at the end', async () => {
    const source = await openTiny();
    await makePrevious();
    let during = '';
    const onEvent = async () => {
      during ||= 'pending';
      during = await readText('config.json').catch(() => 'gone');
    };
    await writeCheckpointDirectory(directory, source, { source, overwrite: true, onEvent });
    expect(during).toBe('{}');
    expect(JSON.parse(await readText('config.json')).model_type).toBe('llama');
    expect(await readdir(parent)).toEqual(['out']);
  });

  it('replaces no directory that is not a checkpoint', async () => {
    const source = await openTiny();
    await mkdir(directory);
    await writeFile(join(directory, 'thesis.tex'), 'years of work');
    await expectKvlrError(
      () => writeCheckpointDirectory(directory, source, { source, overwrite: true }),
      'file-exists',
      directory,
    );
    expect(await readText('thesis.tex')).toBe('years of work');
  });

  it('stops on abort', async () => {
    const source = await openTiny();
    await makePrevious();
    const control = new AbortController();
    const stopping = writeCheckpointDirectory(directory, source, {
      source,
      overwrite: true,
      signal: control.signal,
      onEvent: () => control.abort(),
    });
    await expectKvlrError(() => stopping, 'aborted');
    await expectUntouched();
  });

  it('refuses a weight too large for the type, naming it', async () => {
    const source = await openTiny();
    await makePrevious();
    const name = source.tensorName('finalNorm');
    const tensors = new Map([[name, { shape: [24], data: new Float32Array(24).fill(70000) }]]);
    const changed = overlayModel(source, { shape: source.shape, tensors, id: 'x' });
    await expectKvlrError(
      () => writeCheckpointDirectory(directory, changed, { source, overwrite: true }),
      'numerical',
      new RegExp(`${name}.*70000`),
    );
    await expectUntouched();
  });

  it('refuses a weight that is not finite, naming it', async () => {
    const source = await openTiny();
    await makePrevious();
    const name = source.tensorName('finalNorm');
    const tensors = new Map([[name, { shape: [24], data: new Float32Array(24).fill(Number.NaN) }]]);
    const changed = overlayModel(source, { shape: source.shape, tensors, id: 'x' });
    await expectKvlrError(
      () => writeCheckpointDirectory(directory, changed, { source, overwrite: true }),
      'non-finite',
      name,
    );
    await expectUntouched();
  });

  it('refuses a shape that the family cannot express', async () => {
    const model = createTinyModel({ attentionBias: false });
    const shape = { ...model.shape, architecture: 'qwen2' };
    await expectKvlrError(
      () => writeCheckpointDirectory(directory, { ...model, shape }),
      'unsupported-feature',
      /biases.*qwen2/,
    );
    expect(await readdir(parent)).toEqual([]);
  });
});
