import { type ArchitectureDescriptor, architectures } from '@kvlr/checkpoint';
import { resolveMethod } from '@kvlr/compression';
import { countShapeParameters, type DecoderShape, llamaShape, type RopeParameters } from '@kvlr/core';
import { createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { dividingShare, priceOfHeads, resolveHeads, resolveKeyValueHeads } from './heads.ts';

describe('resolveKeyValueHeads', () => {
  const { shape } = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 8 });

  it('takes counts and shares that divide', () => {
    expect(resolveKeyValueHeads(shape, 2)).toBe(2);
    expect(resolveKeyValueHeads(shape, { keep: 0.25 })).toBe(2);
    expect(resolveKeyValueHeads(shape, { keep: 1 })).toBe(8);
  });

  it('keeps a share of the cache in fewer heads where they are wider', () => {
    expect(resolveKeyValueHeads(shape, { keep: 0.5 }, 2)).toBe(2);
    expect(resolveKeyValueHeads(shape, { keep: 0.5 }, 4)).toBe(1);
    expect(resolveKeyValueHeads(shape, 4, 2)).toBe(4);
  });

  it.each([3, 16, { keep: 0.3 }, { keep: 0.01 }])('refuses %j', (wanted) => {
    const error = expectKvlrError(() => resolveKeyValueHeads(shape, wanted), 'heads-not-divisible');
    expect(error.hint).toContain('1, 2, 4, 8');
  });

  it.each([
    [{ keep: 0.5 }, 8],
    [{ keep: 0.25 }, 4],
    [8, 2],
  ])('refuses %j of %d times the width, which would hold more than the groups do', (wanted, headWidth) => {
    expectKvlrError(() => resolveKeyValueHeads(shape, wanted, headWidth), 'heads-not-divisible', 'of ');
  });

  it('names the nearest count', () => {
    const error = expectKvlrError(
      () => resolveKeyValueHeads(shape, { keep: 0.33 }),
      'heads-not-divisible',
      '33 % of 8, which is 2.64',
    );
    expect(error.hint).toContain('nearest is 2, 25 %');
    expect(error.data).toMatchObject({ nearest: 2 });
  });
});

/** A decoder in whose parameters attention has the share of a model of some size. */
function decoder(settings: { vocabSize: number; heads?: number; rope?: RopeParameters }): DecoderShape {
  const { vocabSize, heads = 8, rope = { type: 'default', theta: 10000 } } = settings;
  return llamaShape({
    ...{ numLayers: 4, hiddenSize: 512, intermediateSize: 1536, maxPositionEmbeddings: 512, vocabSize },
    ...{ numAttentionHeads: 8, numKeyValueHeads: heads, headDim: 64, rope },
  });
}

describe('dividingShare', () => {
  const heads = (numKeyValueHeads: number) => createTinyModel({ numAttentionHeads: 12, numKeyValueHeads }).shape;

  it.each([
    [3, 0.5, 1, 1],
    [12, 0.4, 1, 4],
    [12, 0.4, 2, 2],
    [4, 0.7, 1, 2],
  ])('of %d heads at %d, %d times as wide, takes %d', (count, keep, headWidth, taken) => {
    const { keyValueHeads, note } = dividingShare(heads(count), { keep }, headWidth);
    expect(keyValueHeads).toBe(taken);
    expect(note).toContain(`of ${count} KV heads is`);
  });

  it('leaves alone what divides, counts, and shares below one head', () => {
    expect(dividingShare(heads(4), { keep: 0.5 })).toEqual({ keyValueHeads: { keep: 0.5 } });
    expect(dividingShare(heads(4), 3)).toEqual({ keyValueHeads: 3 });
    expect(dividingShare(heads(1), { keep: 0.5 })).toEqual({ keyValueHeads: { keep: 0.5 } });
  });
});

describe('resolveHeads', () => {
  const method = resolveMethod('rope-averaged');
  const auto = (shape: DecoderShape, keep: number, changes: object = {}) =>
    resolveHeads({
      ...{ model: { shape }, method, uniform: true, recipe: { keyValueHeads: { keep }, headWidth: 'auto' as const } },
      ...changes,
    });

  it('takes the widest heads that add at most a tenth to the parameters', () => {
    const shape = decoder({ vocabSize: 8192 });
    const price = (keyValueHeads: number, headWidth: number) => {
      const { parameters } = priceOfHeads(shape, { keyValueHeads, headWidth });
      return parameters.result / parameters.source;
    };
    expect(auto(shape, 1 / 2)).toEqual({ keyValueHeads: 2, headWidth: 2 });
    expect([price(2, 2) < 1.1, price(1, 4) > 1.1]).toEqual([true, true]);
    // At an eighth the groups are of all eight heads: there is no room.
    expect(auto(shape, 1 / 8)).toEqual({ keyValueHeads: 1, headWidth: 1 });
    expect(auto(decoder({ vocabSize: 65536 }), 1 / 2)).toEqual({ keyValueHeads: 1, headWidth: 4 });
    expect(auto(decoder({ vocabSize: 32, heads: 2 }), 1 / 2)).toEqual({ keyValueHeads: 1, headWidth: 1 });
  });

  it('keeps the width of the source where nothing else is possible', () => {
    const shape = decoder({ vocabSize: 65536 });
    const plain = { keyValueHeads: 4, headWidth: 1 };
    expect(auto(shape, 1 / 2, { method: resolveMethod('svd-a') })).toEqual(plain);
    expect(auto(shape, 1 / 2, { uniform: false })).toEqual(plain);
    const dynamic = { type: 'dynamic', theta: 10000, factor: 2, originalMaxPositionEmbeddings: 512 } as const;
    expect(auto(decoder({ vocabSize: 65536, rope: dynamic }), 1 / 2)).toEqual(plain);
    const architecture: ArchitectureDescriptor = architectures.get('phi3');
    expect(auto(shape, 1 / 2, { model: { shape, architecture } })).toEqual(plain);
  });

  it.each([
    ['a method of means', { method: resolveMethod('mean-pool') }, 'invalid-argument'],
    ['a budget by layer', { uniform: false }, 'recipe-invalid'],
    [
      'a family without wide heads',
      { model: { shape: { ...decoder({ vocabSize: 32 }), architecture: 'gpt2' } } },
      'unsupported-feature',
    ],
  ] as const)('refuses wide heads that are asked for with %s', (_, changes, code) => {
    const recipe = { keyValueHeads: { keep: 0.5 }, headWidth: 2 };
    const request = { model: { shape: decoder({ vocabSize: 32 }) }, method, uniform: true, recipe, ...changes };
    expectKvlrError(() => resolveHeads(request), code);
  });
});

describe('priceOfHeads', () => {
  it('counts parameters, and what a token multiplies with each cached one', () => {
    const shape = decoder({ vocabSize: 32 });
    const { parameters, attentionProducts } = priceOfHeads(shape, { keyValueHeads: 2, headWidth: 2 });
    expect(parameters.source).toBe(countShapeParameters(shape));
    // Query and output projections twice as wide, key and value ones half as large.
    expect(parameters.result - parameters.source).toBe(4 * 512 * (2 * 512 - 2 * 256));
    expect(attentionProducts).toEqual({ source: 4 * 8 * 128, result: 4 * 8 * 256 });
  });
});
