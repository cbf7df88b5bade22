import type { TensorBundle } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addEfforts, artefactKey, bundleCodec, jsonCodec, readBundle } from './artefact.ts';

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
    const bytes = await tensors.encode(bundle, { key, effort });
    expect(await tensors.decode(bytes, sameKey)).toEqual({ value: bundle, effort });
    const groups = { groups: [[0, 1]] };
    expect(await json.decode(await json.encode(groups, { key, effort }), sameKey)).toEqual({ value: groups, effort });
  });

  it('come back without an effort where none was recorded', async () => {
    const origin = { key, effort: undefined };
    const bytes = await tensors.encode(bundle, origin);
    expect(await tensors.decode(bytes, key)).toEqual({ value: bundle, effort: undefined });
    expect(await json.decode(await json.encode(1, origin), key)).toEqual({ value: 1, effort: undefined });
  });

  it.each([
    ['an input', { model: 'c', text: 'b' }, { windows: 4 }],
    ['the recipe', { model: 'a', text: 'b' }, { windows: 5 }],
  ])('do not come back when %s changed', async (_, inputs, recipe) => {
    const other = await artefactKey(inputs, recipe);
    expect(await tensors.decode(await tensors.encode(bundle, { key, effort }), other)).toBeUndefined();
    expect(await json.decode(await json.encode(1, { key, effort }), other)).toBeUndefined();
  });

  it('do not come back when the bytes are damaged, wherever that is', async () => {
    const value = { groups: [[0, 1.25]], name: 'a' };
    const written = [
      { codec: tensors, value: bundle, bytes: await tensors.encode(bundle, { key, effort }) },
      { codec: json, value, bytes: await json.encode(value, { key, effort }) },
    ];
    for (const { codec, value, bytes } of written) {
      const place = fc.nat(bytes.length - 1);
      const damaged = fc.oneof(
        fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
          const changed = Uint8Array.from(bytes);
          changed[at]! ^= bits;
          return changed;
        }),
        place.map((length) => bytes.slice(0, length)),
      );
      await fc.assert(
        fc.asyncProperty(damaged, async (changed) => {
          const kept = await codec.decode(changed, key);
          // White space may change in JSON.
          if (kept !== undefined) expect(kept).toEqual({ value, effort });
        }),
        { numRuns: 300 },
      );
    }
  });

  it('are read whatever they were made from, unless they are damaged', async () => {
    const bytes = await tensors.encode(bundle, { key, effort });
    expect((await readBundle(bytes)).tensors).toEqual(bundle.tensors);
    bytes[bytes.length - 1]! ^= 1;
    await expectKvlrError(() => readBundle(bytes, 'layer.safetensors'), 'file-malformed', /hash/);
  });

  it('carry further fields for other readers', async () => {
    const codec = jsonCodec<number>((value) => ({ doubled: 2 * value }));
    const bytes = await codec.encode(4, { key, effort });
    expect(JSON.parse(new TextDecoder().decode(bytes))).toMatchObject({ doubled: 8, value: 4 });
    expect((await codec.decode(bytes, key))?.value).toBe(4);
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
