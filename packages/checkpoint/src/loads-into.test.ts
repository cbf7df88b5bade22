import { type DecoderShape, llamaShape, stockLayout } from '@kvlr/core';
import { readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { findArchitecture } from './architectures/families.ts';
import { describeEngines, loadsInto } from './loads-into.ts';
import { stockShape } from './model/variant.ts';
import { openCheckpointDirectory } from './node/open.ts';

const llama = llamaShape({
  ...{ numLayers: 2, hiddenSize: 64, intermediateSize: 96, vocabSize: 128, maxPositionEmbeddings: 64 },
  ...{ numAttentionHeads: 8, numKeyValueHeads: 8, headDim: 8, rope: { type: 'default' as const, theta: 1e4 } },
});
const withCache = (shape: DecoderShape, changes: Partial<DecoderShape['layers'][0]['cache']>): DecoderShape => {
  const [first, ...others] = shape.layers;
  return { ...shape, layers: [{ ...first!, cache: { ...first!.cache, ...changes } }, ...others] };
};

describe('loadsInto', () => {
  const architecture = findArchitecture('llama');

  it('says of a stock LLaMA that everything loads it', () => {
    const engines = loadsInto(stockShape(llama, 2), architecture);
    expect(engines).toEqual({});
    expect(describeEngines(engines)).toBe(
      'transformers and engines that load its checkpoints; llama.cpp through GGUF; ONNX Runtime through ONNX',
    );
  });

  it('says of other counts in each layer that kvlr and llama.cpp load them', () => {
    const engines = loadsInto(withCache(stockShape(llama, 2), stockLayout(4, 8)), architecture);
    expect(engines).toMatchObject({ nativeReason: 'another number of KV heads in each layer' });
    expect(engines).not.toHaveProperty('ggufReason');
    expect(engines.onnxReason).toContain('head counts by layer 4, 2');
  });

  it('says of latent keys that kvlr alone loads them', () => {
    const engines = loadsInto(withCache(llama, { keys: 'latent', keySlots: 1, keySlotWidth: 16 }), architecture);
    expect(describeEngines(engines)).toBe('kvlr only (latent keys)');
  });

  it('says of families without a field for KV heads that kvlr loads them, and llama.cpp where it has the family', async () => {
    const describeHalf = async (name: string, change = (shape: DecoderShape) => shape) => {
      const model = await openCheckpointDirectory(readGolden(name).directory);
      await model.close();
      const half = change(stockShape(model.shape, model.shape.numKeyValueHeads / 2));
      return describeEngines(loadsInto(half, model.architecture, model.config));
    };
    const reason = (family: string) => `(${family} models hold as many KV heads as query heads)`;
    expect(await describeHalf('gpt2')).toBe(`kvlr, and llama.cpp through GGUF ${reason('gpt2')}`);
    expect(await describeHalf('opt_prenorm')).toBe(`kvlr only ${reason('opt')}`);
    expect(await describeHalf('bloom')).toBe(`kvlr, and llama.cpp through GGUF ${reason('bloom')}`);
    // llama.cpp computes slopes by the place of a head.
    const reorder = (shape: DecoderShape): DecoderShape => ({
      ...shape,
      layers: shape.layers.map(({ positions, ...layer }) => ({
        ...layer,
        positions: positions.kind === 'alibi' ? { ...positions, slopes: positions.slopes.toReversed() } : positions,
      })),
    });
    expect(await describeHalf('bloom', reorder)).toBe(`kvlr only ${reason('bloom')}`);
  });
});
