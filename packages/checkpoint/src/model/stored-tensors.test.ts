import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countElements, decoderTensors, type TensorRole } from '@kvlr/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeReason } from '../config/write-config.ts';
import { encodeFloats } from '../dtypes.ts';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpointDirectory } from '../node/open.ts';
import { writeCheckpointDirectory } from '../node/write.ts';
import { encodeSafetensors } from '../safetensors/write.ts';
import { randomCompressedLayer } from '../testing/compressed-layer.ts';
import { type Golden, goldens } from '../testing/goldens.ts';
import { openCheckpoint } from './open.ts';
import { applyCompression } from './variant.ts';

let parent: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kvlr-families-'));
});
afterAll(() => rm(parent, { recursive: true }));

/** A checkpoint of the golden's names and shapes; number i of all its tensors in order is i / 2^12. */
function openNumbered({ config, tensors }: Golden) {
  let next = 0;
  const numbered = Object.entries(tensors).map(([name, shape]) => {
    const values = Float32Array.from({ length: countElements(shape) }, () => next++ / 4096);
    return { name, dtype: 'F32' as const, shape, bytes: encodeFloats('F32', values) };
  });
  return openCheckpoint(
    createMemoryFiles({ 'config.json': JSON.stringify(config), 'model.safetensors': encodeSafetensors(numbered) }),
  );
}

const supported = Object.entries(goldens).filter(([, { refused }]) => refused !== true);
/** Their norms with a scale for every key would need another one for fewer keys. */
const scaledKeys = ['olmo2', 'olmo3', 'stablelm_qknorm'];
const mergeable = supported.filter(([name]) => !scaledKeys.includes(name));

describe.each(supported)('a checkpoint of %s', (name, golden) => {
  it('has every tensor of the decoder, and nothing else', async () => {
    const model = await openNumbered(golden);
    const names = decoderTensors(model.shape).map(({ role, layer }) => model.tensorName(role, layer));
    expect(
      model.tensors
        .list()
        .map((info) => info.name)
        .sort(),
    ).toEqual(names.sort());
    for (const { role, layer, shape } of decoderTensors(model.shape)) {
      expect(model.tensors.info(model.tensorName(role, layer)).shape).toEqual(shape);
    }
  });

  it('is written as it was read', async () => {
    const source = await openNumbered(golden);
    const directory = join(parent, name);
    await writeCheckpointDirectory(directory, source, { source });
    const copy = await openCheckpointDirectory(directory);
    expect({ ...copy.config, dtype: '', torch_dtype: '' }).toEqual({ ...source.config, dtype: '', torch_dtype: '' });
    expect(copy.id).toBe(source.id);
    await copy.close();
  });
});

describe.each(mergeable)('a checkpoint of %s', (name, golden) => {
  it('keeps fewer KV heads', async () => {
    const source = await openNumbered(golden);
    const { numKeyValueHeads } = source.shape;
    const groups = Math.max(1, numKeyValueHeads / 2);
    const layers = source.shape.layers.map((_, layer) => randomCompressedLayer(source.shape, { layer, groups }));
    const variant = applyCompression(source, layers);
    const directory = join(parent, `${name}-fewer`);
    await writeCheckpointDirectory(directory, variant, { source, dtype: 'F32' });
    const written = await openCheckpointDirectory(directory);
    expect(written.shape).toEqual(variant.shape);
    for (const { role, layer } of decoderTensors(variant.shape)) {
      const numbers = await variant.tensors.readFloat32(variant.tensorName(role, layer));
      expect(await written.tensors.readFloat32(written.tensorName(role, layer))).toEqual(numbers);
    }
    await written.close();
  });

  it.each([{ latentRank: 5 }, { rebuiltRank: 3 }])('keeps %j keys of one layer', async (settings) => {
    const source = await openNumbered(golden);
    const variant = applyCompression(source, [
      randomCompressedLayer(source.shape, { layer: 1, groups: 1, ...settings }),
    ]);
    const directory = join(parent, `${name}-${Object.keys(settings)}`);
    await writeCheckpointDirectory(directory, variant, { source });
    const written = await openCheckpointDirectory(directory);
    expect(written.shape).toEqual(variant.shape);
    for (const role of ['keyWeight', 'valueWeight', 'queryWeight'] as const) {
      const numbers = await variant.tensors.readFloat32(variant.tensorName(role, 1));
      expect(await written.tensors.readFloat32(written.tensorName(role, 1))).toEqual(numbers);
    }
    await written.close();
  });
});

describe('fewer KV heads stand', () => {
  it('in a kvlr section beside latent keys of a model that has been compressed before', async () => {
    const source = await openNumbered(goldens.gpt2!);
    const layers = source.shape.layers.map((_, layer) => randomCompressedLayer(source.shape, { layer, groups: 2 }));
    const half = applyCompression(source, layers);
    const latent = applyCompression(half, [randomCompressedLayer(half.shape, { layer: 1, groups: 1, latentRank: 3 })]);
    await writeCheckpointDirectory(join(parent, 'twice'), latent, { source });
    const written = await openCheckpointDirectory(join(parent, 'twice'));
    expect(written.shape).toEqual(latent.shape);
    expect(written.shape.numKeyValueHeads).toBe(2);
    await written.close();
  });

  it.each([
    ['gpt2', { groups: 2 }, /gpt2 models hold as many KV heads/],
    ['qwen3', { groups: 1, latentRank: 4 }, /latent keys/],
  ])('elsewhere than in the config of %s with %j, which says why', async (name, settings, reason) => {
    const source = await openNumbered(goldens[name]!);
    const layers = source.shape.layers.map((_, layer) => randomCompressedLayer(source.shape, { layer, ...settings }));
    const { shape } = applyCompression(source, layers);
    expect(nativeReason(shape, source.architecture, source.config)).toMatch(reason);
    expect(nativeReason(source.shape, source.architecture, source.config)).toBeUndefined();
  });

  const typeOf = async (name: string) => {
    const source = await openNumbered(goldens[name]!);
    const layers = source.shape.layers.map((_, layer) => randomCompressedLayer(source.shape, { layer, groups: 1 }));
    const directory = join(parent, `${name}-one`);
    await writeCheckpointDirectory(directory, applyCompression(source, layers), { source });
    const { config, close } = await openCheckpointDirectory(directory);
    await close();
    return config.model_type;
  };

  it.each(['phi3_fused', 'qwen3', 'gemma2', 'phi', 'cohere', 'starcoder2'])('in the config of %s', async (name) => {
    expect(await typeOf(name)).toBe(goldens[name]!.config.model_type);
  });

  it.each(['gpt2', 'bloom', 'opt_prenorm', 'gpt_neox_seq', 'gptj', 'mpt_alibi', 'falcon_alibi'])(
    'in a kvlr section, as %s has no field for them',
    async (name) => {
      expect(await typeOf(name)).toBe('kvlr');
    },
  );
});

describe('a stored tensor that holds several', () => {
  /** Where number (row, column) of a tensor lies in the stored one, as the file's own numbers tell. */
  const placesIn = async (name: string, stored: string, role: TensorRole) => {
    const golden = goldens[name]!;
    const model = await openNumbered(golden);
    const before = Object.keys(golden.tensors).slice(0, Object.keys(golden.tensors).indexOf(stored));
    const start = before.reduce((sum, other) => sum + countElements(golden.tensors[other]!), 0);
    const values = await model.tensors.readFloat32(model.tensorName(role, 0));
    return Array.from(values, (value) => value * 4096 - start);
  };
  const rows = (from: number, count: number, width: number) =>
    Array.from({ length: count * width }, (_, place) => from * width + place);

  it('has q, k and v one after another in Phi-3', async () => {
    const stored = 'model.layers.0.self_attn.qkv_proj.weight';
    expect(await placesIn('phi3_fused', stored, 'queryWeight')).toEqual(rows(0, 32, 32));
    expect(await placesIn('phi3_fused', stored, 'keyWeight')).toEqual(rows(32, 16, 32));
    expect(await placesIn('phi3_fused', stored, 'valueWeight')).toEqual(rows(48, 16, 32));
    expect(await placesIn('phi3_fused', 'model.layers.0.mlp.gate_up_proj.weight', 'upWeight')).toEqual(
      rows(48, 48, 32),
    );
  });

  it('has the q, k and v of each head together in GPT-NeoX, biases too', async () => {
    const stored = 'gpt_neox.layers.0.attention.query_key_value';
    for (const [part, role] of (['query', 'key', 'value'] as const).entries()) {
      const expected = [0, 1, 2, 3].flatMap((head) => rows(head * 24 + part * 8, 8, 32));
      expect(await placesIn('gpt_neox_seq', `${stored}.weight`, `${role}Weight` as TensorRole)).toEqual(expected);
      const biases = [0, 1, 2, 3].flatMap((head) => rows(head * 24 + part * 8, 8, 1));
      expect(await placesIn('gpt_neox_seq', `${stored}.bias`, `${role}Bias` as TensorRole)).toEqual(biases);
    }
  });

  it('has all query heads before the one key and value head in Falcon-7B', async () => {
    const stored = 'transformer.h.0.self_attention.query_key_value.weight';
    expect(await placesIn('falcon_mqa', stored, 'queryWeight')).toEqual(rows(0, 32, 32));
    expect(await placesIn('falcon_mqa', stored, 'valueWeight')).toEqual(rows(40, 8, 32));
  });

  it('lies transposed in GPT-2', async () => {
    const transposed = (first: number, outputs: number, inputs: number, width: number) =>
      Array.from({ length: outputs * inputs }, (_, i) => (i % inputs) * width + first + Math.floor(i / inputs));
    const stored = 'transformer.h.0.attn.c_attn.weight';
    expect(await placesIn('gpt2', stored, 'keyWeight')).toEqual(transposed(32, 32, 32, 96));
    expect(await placesIn('gpt2', 'transformer.h.0.mlp.c_fc.weight', 'upWeight')).toEqual(transposed(0, 48, 32, 48));
    expect(await placesIn('gpt2', 'transformer.h.0.attn.c_attn.bias', 'valueBias')).toEqual(rows(64, 32, 1));
  });

  it('is read by the names without prefix too', async () => {
    const { config, tensors } = goldens.gpt2!;
    const bare = Object.entries(tensors).map(([name, shape]) => [name.replace('transformer.', ''), shape]);
    const model = await openNumbered({ config, tensors: Object.fromEntries(bare) });
    expect(model.tensorName('downWeight', 1)).toBe('h.1.mlp.c_proj.weight[downWeight]');
  });
});
