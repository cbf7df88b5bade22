import type { TensorBundle } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { addEfforts, artefactKey, bundleCodec, jsonCodec } from './artefact.ts';

const bundle: TensorBundle = {
  metadata: { note: 'two numbers' },
  tensors: new Map([['pair', { shape: [2], data: Float64Array.of(1.5, -2) }]]),
};
const same = (value: TensorBundle) => value;
const tensors = bundleCodec(same, same);
const json = jsonCodec<unknown>();

const effort = { seconds: 1.25, peakMemoryBytes: 4096 };
const key = await artefactKey({ model: 'a', text: 'b' }, { windows: 4 });

describe('artefacts', () => {
  it('come back when inputs and recipe match, in whatever order they were written down', async () => {
    const sameKey = await artefactKey({ text: 'b', model: 'a' }, { windows: 4 });
    expect(tensors.decode(tensors.encode(bundle, { key, effort }), sameKey)).toEqual({ value: bundle, effort });
    const groups = { groups: [[0, 1]] };
    expect(json.decode(json.encode(groups, { key, effort }), sameKey)).toEqual({ value: groups, effort });
  });

  it('come back without an effort where none was recorded', () => {
    const origin = { key, effort: undefined };
    expect(tensors.decode(tensors.encode(bundle, origin), key)).toEqual({ value: bundle, effort: undefined });
    expect(json.decode(json.encode(1, origin), key)).toEqual({ value: 1, effort: undefined });
  });

  it.each([
    ['an input', { model: 'c', text: 'b' }, { windows: 4 }],
    ['the recipe', { model: 'a', text: 'b' }, { windows: 5 }],
  ])('do not come back when %s changed', async (_, inputs, recipe) => {
    const other = await artefactKey(inputs, recipe);
    expect(tensors.decode(tensors.encode(bundle, { key, effort }), other)).toBeUndefined();
    expect(json.decode(json.encode(1, { key, effort }), other)).toBeUndefined();
  });

  it('do not come back when the bytes are damaged', () => {
    expect(tensors.decode(tensors.encode(bundle, { key, effort }).subarray(0, -3), key)).toBeUndefined();
    expect(json.decode(new TextEncoder().encode('{"inputs":'), key)).toBeUndefined();
  });

  it('carry further fields for other readers', () => {
    const codec = jsonCodec<number>((value) => ({ doubled: 2 * value }));
    const bytes = codec.encode(4, { key, effort });
    expect(JSON.parse(new TextDecoder().decode(bytes))).toMatchObject({ doubled: 8, value: 4 });
    expect(codec.decode(bytes, key)?.value).toBe(4);
  });
});

describe('addEfforts', () => {
  it('adds seconds, and takes the largest memory', () => {
    expect(addEfforts([])).toEqual({ seconds: 0 });
    expect(addEfforts([{ seconds: 1 }, { seconds: 2 }])).toEqual({ seconds: 3 });
    const parts = [{ seconds: 1, peakMemoryBytes: 7 }, { seconds: 2 }, { seconds: 4, peakMemoryBytes: 5 }];
    expect(addEfforts(parts)).toEqual({ seconds: 7, peakMemoryBytes: 7 });
  });

  it('knows nothing when of one part nothing is known', () => {
    expect(addEfforts([{ seconds: 1 }, undefined])).toBeUndefined();
  });
});
