import { expect, it } from 'vitest';
import { type DecoderShape, llamaShape } from './decoder-shape.ts';
import { decoderTensors, isLayerRole, partOfRole, tensorRoles } from './decoder-tensors.ts';

const llama = llamaShape({
  ...{ numLayers: 2, hiddenSize: 8, intermediateSize: 12, vocabSize: 20, maxPositionEmbeddings: 64 },
  ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 2, tied: true },
  rope: { type: 'default', theta: 10000 },
});
const rolesOf = (shape: DecoderShape) => decoderTensors(shape).map(({ role, layer = '' }) => `${role}${layer}`);
const count = (shape: DecoderShape) =>
  decoderTensors(shape).reduce((sum, tensor) => sum + tensor.shape.reduce((product, size) => product * size, 1), 0);

it('lists a tied LLaMA once through: embedding, layers, head', () => {
  expect(rolesOf(llama)).toEqual([
    'embedding',
    ...[0, 1].flatMap((layer) =>
      ['attentionNorm', 'queryWeight', 'keyWeight', 'valueWeight', 'outputWeight', 'feedForwardNorm']
        .map((role) => `${role}${layer}`)
        .concat([`gateWeight${layer}`, `upWeight${layer}`, `downWeight${layer}`]),
    ),
    'finalNorm',
  ]);
  // Embedding 160; a layer 8 + 64 + 32 + 32 + 64 + 8 + 3 x 96; final norm 8.
  expect(count(llama)).toBe(160 + 2 * 496 + 8);
});

it('knows GPT-2: one feed-forward matrix in, biases and norms with biases, learned positions', () => {
  const norm = { ...llama.blocks.norm, kind: 'layer', bias: true } as const;
  const gpt2: DecoderShape = {
    ...llama,
    embedding: { width: 8, scale: 1, learnedPositions: { count: 64, offset: 0 } },
    attention: { ...llama.attention, inputBias: true, outputBias: true },
    feedForward: { intermediateSize: 32, gated: false, activation: 'gelu_pytorch_tanh', bias: true },
    blocks: { ...llama.blocks, norm },
    head: { ...llama.head, norm },
  };
  const roles = rolesOf(gpt2);
  expect(roles).toEqual(
    expect.arrayContaining(['positionEmbedding', 'attentionNormBias1', 'upBias0', 'finalNormBias']),
  );
  expect(roles.filter((role) => role.startsWith('gate'))).toEqual([]);
});

it('knows norms of queries and keys, post-norms, one norm for parallel blocks, projected embeddings and a head with bias', () => {
  const shape: DecoderShape = {
    ...llama,
    embedding: { width: 4, scale: 1 },
    attention: { ...llama.attention, queryKeyNorm: { ...llama.blocks.norm, over: 'projection' } },
    blocks: { ...llama.blocks, before: 'shared', after: 'branch', parallel: true },
    head: { ...llama.head, tied: false, bias: true },
  };
  const shapes = new Map(decoderTensors(shape).map(({ role, shape: dimensions }) => [role, dimensions]));
  expect(shapes.get('queryNorm')).toEqual([8]);
  expect(shapes.get('keyNorm')).toEqual([4]);
  expect(shapes.get('embeddingProjection')).toEqual([8, 4]);
  expect(shapes.get('headProjection')).toEqual([4, 8]);
  expect(shapes.get('languageModelHead')).toEqual([20, 4]);
  expect(shapes.get('languageModelHeadBias')).toEqual([20]);
  expect(shapes.has('attentionOutputNorm')).toBe(true);
  expect(shapes.has('feedForwardNorm')).toBe(false);
});

it('knows what latent and rebuilt keys keep beside the projections', () => {
  const [latent, rebuilt] = llama.layers.map((layer, index) => ({
    ...layer,
    cache: { ...layer.cache, keySlots: 1, keySlotWidth: 3, keys: index === 0 ? 'latent' : 'rebuilt' } as const,
  }));
  const tensors = decoderTensors({ ...llama, layers: [latent!, rebuilt!] });
  const shapeOf = (role: string, layer: number) =>
    tensors.find((one) => one.role === role && one.layer === layer)?.shape;
  expect(shapeOf('keyWeight', 0)).toEqual([4, 8]);
  expect(shapeOf('latentKeyEncoder', 0)).toEqual([3, 4]);
  expect(shapeOf('latentQueryEncoder', 0)).toEqual([4, 3, 2]);
  expect(shapeOf('keyWeight', 1)).toEqual([3, 8]);
  expect(shapeOf('rebuiltKeyDecoder', 1)).toEqual([1, 4, 3]);
});

it('says of every role which part reads it', () => {
  expect(tensorRoles.filter(isLayerRole)).toHaveLength(tensorRoles.length - 10);
  expect(partOfRole('queryNormBias')).toBe('attention');
});
