import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gguf } from '@huggingface/gguf';
import { createTinyModel, expectKvlrError, type TinyModelSettings } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { applyCompression, overlayModel } from '../model/variant.ts';
import { writeGguf } from '../node/write.ts';
import { randomCompressedLayer } from '../testing/compressed-layer.ts';
import { editJson, type FileContents, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-gguf-'));
  path = join(directory, 'model.gguf');
});
afterEach(() => rm(directory, { recursive: true }));

const open = (files: FileContents) => openCheckpoint(createMemoryFiles(files));
const openTiny = async (settings: TinyModelSettings = {}) => open(await tinyCheckpointFiles(settings));

/** Header by an independent parser, and each tensor's numbers by its table. */
async function readGguf() {
  const { metadata, tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
  const bytes = await readFile(path);
  const floats = (name: string): Float32Array => {
    const info = tensorInfos.find((tensor) => tensor.name === name)!;
    const start = Number(tensorDataOffset) + Number(info.offset);
    const count = info.shape.reduce((product, size) => product * Number(size), 1);
    return new Float32Array(new Uint8Array(bytes.subarray(start, start + 4 * count)).buffer);
  };
  return { metadata: metadata as Record<string, unknown>, tensorInfos, floats, fileSize: bytes.length };
}

describe('encodeGguf', () => {
  it('writes what an independent parser reads: sizes, heads, tokenizer, tensor table', async () => {
    const source = await openTiny({ numKeyValueHeads: 2 });
    await writeGguf(path, source, source, { name: 'tiny' });
    const { metadata, tensorInfos } = await readGguf();
    expect(metadata).toMatchObject({
      version: 3,
      'general.architecture': 'llama',
      'general.name': 'tiny',
      'general.file_type': 0,
      'llama.block_count': 2,
      'llama.context_length': 128,
      'llama.embedding_length': 24,
      'llama.feed_forward_length': 40,
      'llama.attention.head_count': 4,
      'llama.attention.head_count_kv': 2,
      'llama.attention.key_length': 8,
      'llama.rope.dimension_count': 8,
      'llama.rope.freq_base': 10000,
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'gpt-2',
      'tokenizer.ggml.bos_token_id': 0,
      'tokenizer.ggml.eos_token_id': 1,
      'tokenizer.ggml.add_bos_token': true,
      'tokenizer.ggml.merges': ['t h'],
    });
    const tokens = metadata['tokenizer.ggml.tokens'] as string[];
    const types = metadata['tokenizer.ggml.token_type'] as number[];
    expect([tokens.length, tokens[0], tokens[97], tokens[99]]).toEqual([100, '<s>', 'th', '[PAD99]']);
    expect([types[0], types[97], types[99]]).toEqual([3, 1, 5]);
    expect(tensorInfos.length).toBe(source.tensors.list().length);
    const key = tensorInfos.find(({ name }) => name === 'blk.1.attn_k.weight')!;
    expect(key.shape.map(Number)).toEqual([24, 16]);
  });

  it('interleaves rows of queries and keys by their own head counts, and copies the rest', async () => {
    const source = await openTiny({ numKeyValueHeads: 2, attentionBias: true });
    await writeGguf(path, source, source);
    const { floats } = await readGguf();
    for (const [role, name] of [
      ['keyWeight', 'attn_k.weight'],
      ['queryWeight', 'attn_q.weight'],
      ['keyBias', 'attn_k.bias'],
      ['queryBias', 'attn_q.bias'],
    ] as const) {
      const ours = await source.tensors.readFloat32(source.tensorName(role, 1));
      const theirs = floats(`blk.1.${name}`);
      const width = role.endsWith('Bias') ? 1 : 24;
      for (let row = 0; row < ours.length / width; row++) {
        const [head, within] = [Math.floor(row / 8), row % 8];
        const place = 8 * head + 2 * (within % 4) + Math.floor(within / 4);
        expect(theirs.subarray(place * width, (place + 1) * width)).toEqual(
          ours.subarray(row * width, (row + 1) * width),
        );
      }
    }
    for (const [role, name] of [
      ['valueWeight', 'blk.1.attn_v.weight'],
      ['outputBias', 'blk.1.attn_output.bias'],
      ['downWeight', 'blk.1.ffn_down.weight'],
      ['languageModelHead', 'output.weight'],
    ] as const) {
      expect(floats(name)).toEqual(await source.tensors.readFloat32(source.tensorName(role, 1)));
    }
  });

  it('writes matrices as F16 and vectors as F32 on demand; tied heads are left out', async () => {
    const source = await openTiny({ tieWordEmbeddings: true });
    await writeGguf(path, source, source, { dtype: 'F16' });
    const { metadata, tensorInfos } = await readGguf();
    expect(metadata['general.file_type']).toBe(1);
    for (const { name, dtype, shape } of tensorInfos) expect([name, dtype]).toEqual([name, shape.length === 1 ? 0 : 1]);
    expect(tensorInfos.some(({ name }) => name === 'output.weight')).toBe(false);
  });

  it('carries scaled rotary positions', async () => {
    const linear = await openTiny({ rope: { type: 'linear', theta: 5000, factor: 4 } });
    await writeGguf(path, linear, linear);
    expect((await readGguf()).metadata).toMatchObject({
      'llama.rope.freq_base': 5000,
      'llama.rope.scaling.type': 'linear',
      'llama.rope.scaling.factor': 4,
    });
    const rope = {
      type: 'llama3',
      theta: 100,
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalMaxPositionEmbeddings: 64,
    } as const;
    const llama3 = await openTiny({ rope });
    await writeGguf(path, llama3, llama3, { overwrite: true });
    const factors = (await readGguf()).floats('rope_freqs.weight');
    // Turns in 64 positions: 10.2, 3.2, 1.02, 0.32: the first keeps its frequency, the last is stretched by 8.
    expect([factors.length, factors[0], factors[3]]).toEqual([4, 1, 8]);
    expect(factors[1]).toBeCloseTo(
      1 / ((1 - (64 * 100 ** -0.25) / (2 * Math.PI) / 3 + 1 / 3) / 8 + (64 * 100 ** -0.25) / (2 * Math.PI) / 3 - 1 / 3),
      5,
    );
  });

  it('writes another number of KV heads in each layer as the architecture deci, with a count a layer', async () => {
    const source = await openTiny({ attentionBias: true });
    const compressed = randomCompressedLayer(source.shape, { layer: 0, groups: 2 });
    const mixed = applyCompression(source, [compressed]);
    const family = { architecture: 'qwen2', rowOrder: 'half-split' as const, frequencyFactors: false };
    const qwen = { ...source, architecture: { ...source.architecture, gguf: family } };
    for (const from of [source, qwen]) {
      await writeGguf(path, mixed, from, { overwrite: true });
      const { metadata, tensorInfos, floats } = await readGguf();
      expect(metadata).toMatchObject({
        'general.architecture': 'deci',
        'deci.block_count': 2,
        'deci.attention.head_count': [4, 4],
        'deci.attention.head_count_kv': [2, 4],
        'deci.feed_forward_length': [40, 40],
        'deci.rope.dimension_count': 8,
      });
      const rowsOf = (name: string) => Number(tensorInfos.find((tensor) => tensor.name === name)!.shape[1]);
      expect([0, 1].map((layer) => rowsOf(`blk.${layer}.attn_k.weight`))).toEqual([16, 32]);
      expect([0, 1].map((layer) => rowsOf(`blk.${layer}.attn_q.weight`))).toEqual([32, 32]);
      // Rotary pairs lie side by side, whatever the source's family does: row 1 is the partner of row 0, half a head away.
      const key = Float32Array.from(compressed.weights.key);
      expect(floats('blk.0.attn_k.weight').subarray(24, 48)).toEqual(key.subarray(4 * 24, 5 * 24));
    }
  });

  it('writes a Qwen2 under its own name, rows as they are', async () => {
    const model = createTinyModel({ attentionBias: true, vocabSize: 100 });
    const files = await tinyCheckpointFiles({ attentionBias: true });
    editJson(files, 'config.json', (config) => {
      config.model_type = 'qwen2';
    });
    const source = await open(files);
    await writeGguf(path, source, source);
    const { metadata, floats } = await readGguf();
    expect(metadata).toMatchObject({ 'general.architecture': 'qwen2', 'qwen2.attention.head_count_kv': 4 });
    expect(floats('blk.0.attn_q.bias')).toEqual(await model.tensors.readFloat32(model.tensorName('queryBias', 0)));
  });
});

describe('encodeGguf refuses', () => {
  const expectNothingWritten = async () => expect(await readdir(directory)).toEqual([]);

  it('layouts that llama.cpp does not have, and says which it has', async () => {
    const source = await openTiny();
    const latent = applyCompression(source, [
      randomCompressedLayer(source.shape, { layer: 0, groups: 2, latentRank: 8 }),
    ]);
    await expectKvlrError(
      () => writeGguf(path, latent, source),
      'unsupported-feature',
      /stock grouped-query attention.*latent/,
    );
    await expectNothingWritten();
  });

  it('tokenizers that llama.cpp would read differently', async () => {
    const edits: ((content: Record<string, unknown>) => void)[] = [
      (content) => {
        content.pre_tokenizer = { type: 'Metaspace' };
      },
      (content) => {
        content.pre_tokenizer = { type: 'ByteLevel', use_regex: true, add_prefix_space: true };
      },
      (content) => {
        const split = { type: 'Split', pattern: { Regex: '\\d' }, behavior: 'Isolated' };
        content.pre_tokenizer = { type: 'Sequence', pretokenizers: [split, { type: 'ByteLevel', use_regex: false }] };
      },
    ];
    for (const edit of edits) {
      const files = await tinyCheckpointFiles();
      editJson(files, 'tokenizer.json', edit);
      const source = await open(files);
      await expectKvlrError(
        () => writeGguf(path, source, source),
        'unsupported-feature',
        /tokenizer\.json.*byte-level BPE/,
      );
    }
    await expectNothingWritten();
  });

  it('other activations, and Llama 3 positions in a family without them', async () => {
    const source = await openTiny();
    const feedForward = { ...source.shape.feedForward, activation: 'gelu' as const };
    const gelu = { ...source, shape: { ...source.shape, feedForward } };
    await expectKvlrError(() => writeGguf(path, gelu, source), 'unsupported-feature', /silu.*gelu/);
    const llama3 = await openTiny({
      rope: {
        ...{ type: 'llama3', theta: 100, factor: 8, originalMaxPositionEmbeddings: 64 },
        ...{ lowFrequencyFactor: 1, highFrequencyFactor: 4 },
      },
    });
    const family = { architecture: 'qwen2', rowOrder: 'half-split' as const, frequencyFactors: false };
    const qwen = { ...source, architecture: { ...source.architecture, gguf: family } };
    await expectKvlrError(() => writeGguf(path, llama3, qwen), 'unsupported-feature', 'llama3');
    const unknown = { ...source, architecture: { ...source.architecture, gguf: undefined } };
    await expectKvlrError(() => writeGguf(path, source, unknown), 'unsupported-feature', 'llama.cpp');
    await expectNothingWritten();
  });

  it('an existing file, an abort, and a weight beyond F16, leaving nothing behind', async () => {
    const source = await openTiny();
    await expectKvlrError(() => writeGguf(path, source, source, { signal: AbortSignal.abort() }), 'aborted');
    const name = source.tensorName('embedding');
    const tensors = new Map([[name, { shape: [100, 24], data: new Float32Array(2400).fill(1e6) }]]);
    const large = overlayModel(source, { shape: source.shape, tensors, id: 'large' });
    await expectKvlrError(
      () => writeGguf(path, large, source, { dtype: 'F16' }),
      'numerical',
      /token_embd\.weight.*1000000/,
    );
    await expectNothingWritten();
    await writeGguf(path, source, source);
    await expectKvlrError(() => writeGguf(path, source, source), 'file-exists', path);
    expect(await readdir(directory)).toEqual(['model.gguf']);
  });
});
