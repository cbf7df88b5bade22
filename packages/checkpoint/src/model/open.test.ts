import { fileURLToPath } from 'node:url';
import { KvlrError, type KvlrEvent } from '@kvlr/core';
import { expectClose, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpointDirectory } from '../node.ts';
import { encodeSafetensors } from '../safetensors/write.ts';
import { editJson, type FileContents, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { openCheckpoint } from './open.ts';

const referenceModel = fileURLToPath(new URL('../../../reference-model/model', import.meta.url));
const open = (files: FileContents) => openCheckpoint(createMemoryFiles(files));

/** Position of a tensor's first byte in the tiny checkpoint's only weight file. */
function tensorStart(file: Uint8Array, name: string): number {
  const headerLength = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerLength)));
  return 8 + headerLength + header[name].data_offsets[0];
}

describe('openCheckpoint', () => {
  it('opens the reference model from a directory', async () => {
    const checkpoint = await openCheckpointDirectory(referenceModel);
    expect(checkpoint.shape).toMatchObject({ numLayers: 6, numKeyValueHeads: 8, headDim: 32, vocabSize: 4096 });
    expect(checkpoint.tensorName('languageModelHead')).toBe(checkpoint.tensorName('embedding'));
    const query = await checkpoint.tensors.readFloat32(checkpoint.tensorName('queryWeight', 3));
    expect(query.length).toBe(256 * 256);
    expect(checkpoint.id).toMatch(/^[0-9a-f]{64}$/);
    await checkpoint.close();
  });

  it.each(['F32', 'F16', 'BF16'] as const)('reads weights of type %s', async (dtype) => {
    const exact = await open(await tinyCheckpointFiles());
    const checkpoint = await open(await tinyCheckpointFiles({ dtype }));
    const name = checkpoint.tensorName('upWeight', 1);
    expect(checkpoint.tensors.info(name).dtype).toBe(dtype);
    const expected = await exact.tensors.readFloat32(name);
    // Weights stay below 1, so that half an ulp is 2^-12 for F16 and 2^-9 for BF16.
    const tolerance = { F32: 0, F16: 2 ** -12, BF16: 2 ** -9 }[dtype];
    expectClose(await checkpoint.tensors.readFloat32(name), expected, tolerance);
  });

  it.each([
    ['_orig_mod.', (name: string) => `_orig_mod.${name}`],
    ['module.', (name: string) => `module.${name}`],
    ['language_model.', (name: string) => `language_model.${name}`],
    ['model.language_model.', (name: string) => name.replace('model.', 'model.language_model.')],
    ['model.', (name: string) => name.replace('model.', '')],
  ])('opens weights that a wrapper of the model saved, and says so: %s', async (wrapper, rename) => {
    const files = await tinyCheckpointFiles();
    const plain = await open(files);
    const infos = plain.tensors.list().map(async (info) => {
      return { ...info, name: rename(info.name), bytes: await plain.tensors.readBytes(info.name) };
    });
    files['model.safetensors'] = encodeSafetensors([
      ...(await Promise.all(infos)),
      { name: 'vision.weight', dtype: 'F32', shape: [1], bytes: new Uint8Array(4) },
    ]);
    const told: string[] = [];
    const onEvent = (event: KvlrEvent) => 'message' in event && told.push(event.message);
    const opened = await openCheckpoint(createMemoryFiles(files), { onEvent });
    expect(told[0]).toContain(`${wrapper} `);
    expect(told.filter((message) => message.includes('biases'))).toEqual([]);
    const name = opened.tensorName('upWeight', 1);
    expect(await opened.tensors.readBytes(name)).toEqual(await plain.tensors.readBytes(name));
  });

  it('says what to do with an adapter', async () => {
    const files = createMemoryFiles({ 'adapter_config.json': '{}', 'adapter_model.safetensors': '' });
    await expect(openCheckpoint(files)).rejects.toMatchObject({
      ...{ code: 'file-missing', hint: expect.stringContaining('merge_and_unload') },
    });
  });

  it('opens shards through their index, with the same id as the single file', async () => {
    const files = await tinyCheckpointFiles();
    const single = await open(files);
    const { 'model.safetensors': _, ...sharded } = files;
    const weightMap: Record<string, string> = {};
    for (const part of [0, 1]) {
      const infos = single.tensors.list().filter((__, position) => position % 2 === part);
      const tensors = infos.map(async (info) => ({ ...info, bytes: await single.tensors.readBytes(info.name) }));
      const file = `model-0000${part + 1}-of-00002.safetensors`;
      sharded[file] = encodeSafetensors(await Promise.all(tensors));
      for (const { name } of infos) weightMap[name] = file;
    }
    sharded['model.safetensors.index.json'] = JSON.stringify({ weight_map: weightMap });
    const checkpoint = await open(sharded);
    expect(checkpoint.id).toBe(single.id);
    const name = checkpoint.tensorName('downWeight', 1);
    expect(await checkpoint.tensors.readBytes(name)).toEqual(await single.tensors.readBytes(name));

    const moved = {
      ...sharded,
      'model.safetensors.index.json': JSON.stringify({
        weight_map: { ...weightMap, x: 'model-00001-of-00002.safetensors' },
      }),
    };
    await expectKvlrError(() => open(moved), 'tensor-missing', 'model-00001-of-00002.safetensors');
    const outside = {
      ...sharded,
      'model.safetensors.index.json': JSON.stringify({ weight_map: { x: '../x.safetensors' } }),
    };
    await expectKvlrError(() => open(outside), 'file-missing', '../x.safetensors');
    delete sharded['model-00002-of-00002.safetensors'];
    await expectKvlrError(() => open(sharded), 'file-missing', 'model-00002-of-00002.safetensors');
  });

  it('gives another id to another config and to other weights', async () => {
    const files = await tinyCheckpointFiles();
    const changedConfig = { ...files };
    editJson(changedConfig, 'config.json', (config) => {
      config.rope_theta = 20000;
    });
    const ids = await Promise.all([files, changedConfig, await tinyCheckpointFiles({ seed: 2 })].map(open));
    expect(new Set(ids.map(({ id }) => id)).size).toBe(3);
  });
});

describe('openCheckpoint refuses', () => {
  it('a missing file, naming it', async () => {
    for (const name of ['config.json', 'model.safetensors']) {
      const files = await tinyCheckpointFiles();
      delete files[name];
      await expectKvlrError(() => open(files), 'file-missing', name);
    }
    await expectKvlrError(
      () => openCheckpointDirectory('/nowhere/at/all'),
      'file-missing',
      /config\.json.*\/nowhere\/at\/all/,
    );
  });

  it('a config.json that is no JSON object', async () => {
    const files = await tinyCheckpointFiles();
    await expectKvlrError(() => open({ ...files, 'config.json': '{"hidden' }), 'file-malformed', 'config.json');
    await expectKvlrError(() => open({ ...files, 'config.json': '[]' }), 'file-malformed', 'config.json');
  });

  it('an unknown architecture, listing the known ones', async () => {
    const files = await tinyCheckpointFiles();
    editJson(files, 'config.json', (config) => {
      config.model_type = 'gpt_imaginary';
    });
    await expectKvlrError(() => open(files), 'unknown-architecture', /llama.*mistral.*qwen2.*gpt_imaginary/);
  });

  it('head counts that do not divide', async () => {
    const files = await tinyCheckpointFiles();
    editJson(files, 'config.json', (config) => {
      config.num_key_value_heads = 3;
    });
    await expectKvlrError(() => open(files), 'heads-not-divisible', /config\.json.*num_key_value_heads/);
  });

  it('values of any kind in any field of config.json, or takes them, but never fails otherwise', async () => {
    const files = await tinyCheckpointFiles();
    const config = JSON.parse(files['config.json'] as string);
    const further = ['head_dim', 'rope_parameters', 'layer_types', 'sliding_window', 'kvlr', 'quantization_config'];
    const values = [5e9, 1e6, 1e300, -1, 1.5, null, true, 'x', { toString: 1 }, [null], [[{}]]];
    for (const field of [...Object.keys(config), ...further]) {
      for (const value of values) {
        const attempt = open({ ...files, 'config.json': JSON.stringify({ ...config, [field]: value }) });
        const error = await attempt.then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error === undefined || KvlrError.isInstance(error), `${field} ${JSON.stringify(value)}`).toBe(true);
      }
    }
  });

  it('a truncated file', async () => {
    const files = await tinyCheckpointFiles();
    const whole = files['model.safetensors'] as Uint8Array;
    for (const length of [0, 4, 100, whole.length - 1]) {
      await expectKvlrError(
        () => open({ ...files, 'model.safetensors': whole.slice(0, length) }),
        'file-truncated',
        'model.safetensors',
      );
    }
  });

  it('weights that do not fit the config', async () => {
    const files = await tinyCheckpointFiles();
    editJson(files, 'config.json', (config) => {
      config.intermediate_size = 41;
    });
    await expectKvlrError(() => open(files), 'tensor-shape', /mlp\.gate_proj\.weight.*41/);
    editJson(files, 'config.json', (config) => {
      config.intermediate_size = 40;
      config.num_hidden_layers = 3;
    });
    await expectKvlrError(() => open(files), 'tensor-missing', 'model.layers.2.input_layernorm.weight');
  });

  it('NaN and infinity in a weight, naming file and tensor', async () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const files = await tinyCheckpointFiles();
      const weights = files['model.safetensors'] as Uint8Array;
      const name = 'model.layers.1.self_attn.v_proj.weight';
      new DataView(weights.buffer).setFloat32(tensorStart(weights, name) + 12, value, true);
      const checkpoint = await open(files);
      await expectKvlrError(
        () => checkpoint.tensors.readFloat32(name),
        'non-finite',
        new RegExp(`model.safetensors.*${name}.*element 3`),
      );
    }
  });
});
