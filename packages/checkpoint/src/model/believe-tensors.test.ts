import type { KvlrEvent } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { decodeTensorBundle, encodeTensorBundle } from '../safetensors/bundle.ts';
import { editJson, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { openCheckpoint } from './open.ts';

type Tensors = ReturnType<typeof decodeTensorBundle>['tensors'];

/** Opens a tiny checkpoint whose config and tensors were changed apart from each other. */
async function open(
  config: Record<string, unknown>,
  edit: (tensors: Tensors) => void,
  settings: Parameters<typeof tinyCheckpointFiles>[0] = {},
) {
  const files = await tinyCheckpointFiles(settings);
  editJson(files, 'config.json', (content) => Object.assign(content, config));
  const bundle = decodeTensorBundle(files['model.safetensors'] as Uint8Array);
  edit(bundle.tensors);
  const events: KvlrEvent[] = [];
  const checkpoint = await openCheckpoint(
    createMemoryFiles({ ...files, 'model.safetensors': encodeTensorBundle(bundle) }),
    { onEvent: (event) => events.push(event) },
  );
  return { checkpoint, told: events.map((event) => `${event.type}: ${'message' in event && event.message}`) };
}

const vector = (length: number) => ({ shape: [length], data: new Float32Array(length).fill(0.5) });
const unchanged = () => {};

describe('the head', () => {
  const [head, embedding] = ['lm_head.weight', 'model.embed_tokens.weight'];

  it('is the one that is stored, though the config says it is the embedding', async () => {
    const { checkpoint, told } = await open({ tie_word_embeddings: true }, unchanged);
    expect(checkpoint.shape.head.tied).toBe(false);
    expect(checkpoint.config.tie_word_embeddings).toBe(false);
    expect(checkpoint.tensorName('languageModelHead')).toBe(head);
    expect(told).toEqual([expect.stringMatching(/^warning: .*lm_head\.weight is used/)]);
  });

  it('is the embedding where a copy of it is stored', async () => {
    const { checkpoint, told } = await open({ tie_word_embeddings: true }, (tensors) => {
      tensors.set(head, tensors.get(embedding)!);
    });
    expect(checkpoint.tensorName('languageModelHead')).toBe(embedding);
    expect(told).toEqual([expect.stringMatching(/^note: .*lm_head\.weight/)]);
  });

  it('is the embedding where nothing else is stored', async () => {
    const { checkpoint, told } = await open({ tie_word_embeddings: false }, (tensors) => tensors.delete(head));
    expect(checkpoint.shape.head.tied).toBe(true);
    expect(told).toEqual([expect.stringMatching(/^warning: .*the embedding is used/)]);
  });

  it('is not spoken of where config and tensors agree', async () => {
    expect((await open({}, unchanged)).told).toEqual([]);
    expect((await open({}, unchanged, { tieWordEmbeddings: true })).told).toEqual([]);
  });
});

describe('biases', () => {
  const projections = ['q', 'k', 'v', 'o'].map((name) => `self_attn.${name}_proj`);
  const widthOf = (tensors: Tensors, name: string) => tensors.get(`${name}.weight`)!.shape[0]!;
  const add = (tensors: Tensors, names: readonly string[], layers: readonly number[]) => {
    for (const layer of layers) {
      for (const name of names.map((projection) => `model.layers.${layer}.${projection}`)) {
        tensors.set(`${name}.bias`, vector(widthOf(tensors, name)));
      }
    }
  };

  it('are used where all are stored, though the config says there are none', async () => {
    const { checkpoint, told } = await open({ attention_bias: false }, (tensors) => add(tensors, projections, [0, 1]));
    expect(checkpoint.shape.attention).toMatchObject({ inputBias: true, outputBias: true });
    expect(checkpoint.config.attention_bias).toBe(true);
    expect(told).toEqual([expect.stringMatching(/^warning: .*q_proj\.bias.*5 more.*they are used/)]);
  });

  it('are left alone where some are stored, and that is said', async () => {
    const { checkpoint, told } = await open({ attention_bias: false }, (tensors) =>
      add(tensors, projections.slice(1, 3), [0]),
    );
    expect(checkpoint.shape.attention.inputBias).toBe(false);
    expect(told).toEqual([expect.stringMatching(/^note: 2 stored tensors .*k_proj\.bias, .*v_proj\.bias/)]);
  });

  it('are not asked for where none is stored', async () => {
    const { checkpoint, told } = await open({ attention_bias: true, mlp_bias: true }, unchanged);
    expect(checkpoint.shape).toMatchObject({ attention: { inputBias: false }, feedForward: { bias: false } });
    expect(told).toHaveLength(2);
  });

  it('are asked for where one is stored', async () => {
    const one = open({ attention_bias: true }, (tensors) => add(tensors, projections.slice(0, 1), [0]));
    await expectKvlrError(() => one, 'tensor-missing', 'layers.0.self_attn.k_proj.bias');
  });
});

it('a tensor that is not finite and has no part in the model stands in no way', async () => {
  const { checkpoint, told } = await open({}, (tensors) => {
    tensors.set('model.causal_mask', { shape: [1], data: Float32Array.of(Number.NEGATIVE_INFINITY) });
  });
  expect(told).toEqual([expect.stringMatching(/^note: A stored tensor .*model\.causal_mask/)]);
  await checkpoint.close();
});
