import type { DecoderShape } from '@kvlr/core';
import { asciiTokenizerFiles, expectClose, expectKvlrError, goldenNames, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { type HuggingFaceCheckpoint, openCheckpoint } from '../model/open.ts';
import { applyCompression } from '../model/variant.ts';
import { createDirectoryFiles } from '../node/open.ts';
import { openFiles, openSource } from '../open-source.ts';
import { randomCompressedLayer } from '../testing/compressed-layer.ts';
import { editJson, type FileContents, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { encodeGguf, type GgufSettings } from './export.ts';
import { encodeGgufHeader, type GgufValue } from './format.ts';
import { parseGgufHeader } from './header.ts';

/** A golden checkpoint with a tokenizer, which those that transformers wrote lack. */
async function openGolden(name: string): Promise<HuggingFaceCheckpoint> {
  const files = createDirectoryFiles(readGolden(name).directory);
  const contents: FileContents = { ...asciiTokenizerFiles() };
  for (const file of ['config.json', 'model.safetensors']) contents[file] = await files.read(file);
  return openCheckpoint(createMemoryFiles(contents));
}

const openTiny = async (settings: Parameters<typeof tinyCheckpointFiles>[0] = {}) =>
  openCheckpoint(createMemoryFiles(await tinyCheckpointFiles(settings)));

async function encode(
  model: Parameters<typeof encodeGguf>[0],
  source = model as HuggingFaceCheckpoint,
  settings?: GgufSettings,
) {
  const pieces: Uint8Array[] = [];
  await encodeGguf(model, source, { write: async (bytes) => void pieces.push(bytes.slice()) }, settings);
  return new Uint8Array(Buffer.concat(pieces));
}

const open = (bytes: Uint8Array) => openFiles(createMemoryFiles({ 'model.gguf': bytes }));

/** What llama.cpp cannot be told of the golden checkpoints, which were made to have every setting. */
const refused: Record<string, RegExp> = {
  bloom_heads6: /blocks\.residual to be "stream"/,
  llama_dynamic: /rope\.type to be undefined.*"dynamic"/,
  olmo3: /layers\.2\.positions\.rope\.frequencies/,
  smollm3: /layers\.1\.positions\.kind to be "rope"/,
  gemma2: /attention\.scoreScale/,
  gemma3_text: /attention\.scoreScale/,
  falcon_alibi: /blocks\.|positions/,
  gptj: /a family that llama\.cpp knows, got gptj/,
  opt_prenorm: /a family that llama\.cpp knows, got opt/,
  opt_postnorm: /a family that llama\.cpp knows, got opt/,
};
/** Windows that the architecture does not know: what is written is for texts within them. */
const cut = ['mistral', 'qwen2_swa', 'starcoder2'];

/** RoPE without the parameters that its frequencies are made from: a file may hold the frequencies in their place. */
const withoutScaling = ({ layers, ...shape }: DecoderShape) => ({
  ...shape,
  layers: layers.map(({ positions, ...layer }) => ({
    ...layer,
    positions: positions.kind === 'rope' ? { ...positions, rope: positions.rope.theta } : positions,
  })),
});

describe('openGguf', () => {
  it.each(goldenNames().filter((name) => refused[name] === undefined && !cut.includes(name)))(
    'reads the model back that was written: %s',
    async (name) => {
      const source = await openGolden(name);
      const read = await open(await encode(source));
      expect(withoutScaling(read.shape)).toEqual(withoutScaling(source.shape));
      const names = (list: { name: string }[]) => list.map((info) => info.name).sort();
      expect(names(read.tensors.list())).toEqual(names(source.tensors.list()));
      for (const info of source.tensors.list()) {
        const values = await read.tensors.readFloat32(info.name);
        // Gemma's scales less one lose their last bits.
        expectClose(values, await source.tensors.readFloat32(info.name), 1e-7);
        expect(new Float32Array((await read.tensors.readBytes(info.name)).slice().buffer)).toEqual(values);
      }
    },
  );

  it.each(cut)('reads the model back for texts within its window: %s', async (name) => {
    const source = await openGolden(name);
    const { shape } = await open(await encode(source));
    expect(shape.maxPositionEmbeddings).toBe(16);
    expect(shape.layers.every(({ window }) => window === undefined)).toBe(true);
  });

  it.each(Object.entries(refused))('cannot be written for llama.cpp: %s', async (name, message) => {
    const source = await openGolden(name);
    await expectKvlrError(() => encode(source), 'unsupported-feature', message);
  });

  it('becomes an ordinary checkpoint: config, tokenizer files, licence', async () => {
    const source = await openTiny({ tieWordEmbeddings: true });
    const read = await open(await encode(source, source, { dtype: 'F16' }));
    expect(read.config).toMatchObject({
      ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', tie_word_embeddings: true },
      ...{ bos_token_id: 0, eos_token_id: 1, torch_dtype: 'float16', rms_norm_eps: 1e-5, num_key_value_heads: 4 },
    });
    expect(await read.files.list()).toEqual(expect.arrayContaining(['tokenizer.json', 'generation_config.json']));
    expect((await read.tokenizer()).encode('the sea')).toEqual((await source.tokenizer()).encode('the sea'));
    expect(read.writtenDtype).toBe('F16');
    expect(read.quantisedAs).toBeUndefined();
  });

  it.each(['Q8_0', 'Q4_0'] as const)('reads %s as F32, to be written as F16', async (dtype) => {
    const source = await openGolden('llama_gqa_bias');
    const read = await open(await encode(source, source, { dtype }));
    expect([read.writtenDtype, read.quantisedAs]).toEqual(['F16', dtype]);
    const step = { Q8_0: 1 / 250, Q4_0: 1 / 8 }[dtype];
    for (const role of ['queryWeight', 'keyWeight', 'downWeight'] as const) {
      const name = source.tensorName(role, 1);
      const exact = await source.tensors.readFloat32(name);
      const largest = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(read.tensors.info(name).dtype).toBe('F32');
      expectClose(await read.tensors.readFloat32(name), exact, step * largest);
    }
  });

  it('gives the id of the file, whatever lies beside it', async () => {
    const source = await openTiny();
    const [one, same, other] = [await encode(source), await encode(source), await encode(await openTiny({ seed: 2 }))];
    const ids = await Promise.all([one, same, other].map(async (bytes) => (await open(bytes)).id));
    expect(ids[0]).toBe(ids[1]);
    expect(ids[0]).not.toBe(ids[2]);
  });

  it.each([
    ['the same in every layer', [2, 2]],
    ['another one in each layer', [2, 1]],
  ])('keeps a number of KV heads that is %s', async (_, groups) => {
    for (const name of ['llama_mha', 'gpt2']) {
      const source = await openGolden(name);
      const layers = groups.map((count, layer) => randomCompressedLayer(source.shape, { layer, groups: count }));
      const model = applyCompression(source, layers);
      if (name === 'gpt2' && groups[0] !== groups[1]) {
        await expectKvlrError(() => encode(model, source), 'unsupported-feature', /as llama\.cpp has it for deci/);
        continue;
      }
      const { shape } = await open(await encode(model, source));
      expect(shape.layers.map(({ cache }) => cache)).toEqual(model.shape.layers.map(({ cache }) => cache));
    }
  });
});

it('opens a GGUF file by its URL, whose query goes along', async () => {
  const bytes = await encode(await openTiny());
  const asked: string[] = [];
  const send = async (url: string, init: RequestInit = {}) => {
    asked.push(url);
    const headers = { 'content-length': String(bytes.length) };
    return new Response(init.method === 'HEAD' ? null : bytes.slice(), { headers });
  };
  const read = await openSource('https://models.example/a b/tiny.gguf?signature=1#top', {
    fetch: send as typeof fetch,
  });
  expect(read.location).toBe('https://models.example/a b/tiny.gguf');
  expect(new Set(asked)).toEqual(new Set(['https://models.example/a b/tiny.gguf?signature=1']));
  const same = await open(bytes);
  expect(read.id).toBe(same.id);
});

describe('openGguf refuses', () => {
  /** The file with some metadata changed; undefined leaves a key out. */
  async function withMetadata(changes: Record<string, GgufValue | undefined>): Promise<Uint8Array> {
    const bytes = await encode(await openTiny());
    const { metadata, tensors } = parseGgufHeader(bytes, bytes.length, 'x')!;
    const kept = new Map(
      [...metadata].flatMap(([key, value]) =>
        typeof value === 'number' ? [[key, { type: 'uint32', value }] as const] : [],
      ),
    );
    const epsilon = { type: 'float32', value: 1e-6 } as const;
    const all: Record<string, GgufValue | undefined> = {
      ...Object.fromEntries(kept),
      'llama.attention.layer_norm_rms_epsilon': epsilon,
      ...changes,
    };
    const given = Object.entries(all).filter((entry): entry is [string, GgufValue] => entry[1] !== undefined);
    const plans = tensors.map(({ name, shape }) => ({ name, shape, dtype: 'F32' as const }));
    return new Uint8Array(
      Buffer.concat([
        encodeGgufHeader(new Map(given), plans),
        bytes.subarray(Math.min(...tensors.map(({ start }) => start))),
      ]),
    );
  }
  const architecture = { type: 'string', value: 'llama' } as const;

  it('nothing that is whole', async () => {
    const read = await open(await withMetadata({ 'general.architecture': architecture }));
    expect(read.shape.numKeyValueHeads).toBe(4);
    await expectKvlrError(() => read.tokenizer(), 'file-malformed', /tokenizer\.ggml\.tokens/);
  });

  it.each([
    ['another architecture', { type: 'string', value: 'mamba' }, 'unknown-architecture', /llama.*qwen3.*got mamba/],
    ['none', undefined, 'unknown-architecture', /got undefined/],
  ] as const)('%s', async (_, value, code, message) => {
    const bytes = await withMetadata({ 'general.architecture': value });
    await expectKvlrError(() => open(bytes), code, message);
  });

  it.each([
    ['llama.block_count', { type: 'uint32', value: 3 }, 'tensor-missing', /blk\.2/],
    ['llama.block_count', undefined, 'file-malformed', /num_hidden_layers/],
    ['llama.attention.head_count', undefined, 'file-malformed', /head_count/],
    ['llama.embedding_length', { type: 'uint32', value: 32 }, 'tensor-shape', /token_embd\.weight/],
    ['llama.attention.head_count', { type: 'string', value: '4' }, 'file-malformed', /expected a number/],
    [
      'llama.feed_forward_length',
      { type: 'array', of: 'int32', value: [40, 41] },
      'unsupported-feature',
      /every layer/,
    ],
    ['split.count', { type: 'uint32', value: 3 }, 'unsupported-feature', /one of 3 parts/],
  ] as const)('a file whose %s is %j', async (key, value, code, message) => {
    const bytes = await withMetadata({ 'general.architecture': architecture, [key]: value });
    await expectKvlrError(() => open(bytes), code, message);
  });

  it('weights of a type that it does not read, by name, before anything is computed', async () => {
    const source = await openGolden('llama_mha');
    const bytes = await encode(source, source, { dtype: 'Q4_0' });
    const { tensors } = parseGgufHeader(bytes, bytes.length, 'x')!;
    const place = Buffer.from(bytes).indexOf('blk.0.ffn_down.weight') + 21 + 4 + 16;
    expect(bytes[place]).toBe(2);
    // IQ4_NL has blocks of the same size.
    bytes[place] = 20;
    expect(tensors.length).toBeGreaterThan(1);
    await expectKvlrError(
      () => open(bytes),
      'unsupported-feature',
      /model\.gguf, blk\.0\.ffn_down\.weight.*got IQ4_NL/,
    );
  });

  it('numbers that are not finite, naming the tensor', async () => {
    const bytes = await encode(await openTiny());
    const { tensors } = parseGgufHeader(bytes, bytes.length, 'x')!;
    const { start } = tensors.find(({ name }) => name === 'blk.1.attn_v.weight')!;
    new DataView(bytes.buffer).setFloat32(start + 12, Number.NaN, true);
    const read = await open(bytes);
    const name = read.tensorName('valueWeight', 1);
    await expectKvlrError(() => read.tensors.readFloat32(name), 'non-finite', /blk\.1\.attn_v\.weight.*element 3/);
  });

  it('what Git LFS left in its place', async () => {
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n';
    const files = createMemoryFiles({ 'model.gguf': pointer });
    await expectKvlrError(() => openFiles(files), 'file-malformed', 'a pointer of Git LFS');
  });

  it('a folder of several files, but takes the only one', async () => {
    const bytes = await encode(await openTiny());
    const files = createMemoryFiles({ 'a.gguf': bytes, 'b.GGUF': bytes });
    await expectKvlrError(() => openFiles(files), 'invalid-argument', /a\.gguf, b\.GGUF/);
    const files2: FileContents = { ...(await tinyCheckpointFiles()), 'a.gguf': bytes };
    editJson(files2, 'config.json', (config) => Object.assign(config, { rope_theta: 5 }));
    expect((await openFiles(createMemoryFiles(files2))).config.rope_theta).toBe(5);
  });
});
