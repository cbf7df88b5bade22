import { describe, expect, it } from 'vitest';
import { artefactKey, loadBundle, loadJson, saveBundle, saveJson } from './artefact.ts';
import { MemoryRunStore } from './memory-run-store.ts';

const bundle = {
  metadata: { note: 'two numbers' },
  tensors: new Map([['pair', { shape: [2], data: Float64Array.of(1.5, -2) }]]),
};

const effort = { seconds: 1.25, peakMemoryBytes: 4096 };

describe('artefacts', () => {
  it('come back when inputs and recipe match', async () => {
    const store = new MemoryRunStore();
    const key = await artefactKey({ model: 'a', text: 'b' }, { windows: 4 });
    await saveBundle(store, 'tensors', { key, effort }, bundle);
    await saveJson(store, 'value', { key, effort }, { groups: [[0, 1]] });
    const sameKey = await artefactKey({ text: 'b', model: 'a' }, { windows: 4 });
    expect(await loadBundle(store, 'tensors', sameKey)).toEqual({ value: bundle, effort });
    expect(await loadJson(store, 'value', sameKey)).toEqual({ value: { groups: [[0, 1]] }, effort });
  });

  it('come back without an effort where none was recorded', async () => {
    const store = new MemoryRunStore();
    const key = await artefactKey('inputs', {});
    const origin = { key, effort: undefined };
    await saveBundle(store, 'tensors', origin, bundle);
    await saveJson(store, 'value', origin, 1);
    expect(await loadBundle(store, 'tensors', key)).toEqual({ value: bundle, effort: undefined });
    expect(await loadJson(store, 'value', key)).toEqual({ value: 1, effort: undefined });
  });

  it('do not come back when an input or the recipe changed, or the bytes are damaged', async () => {
    const store = new MemoryRunStore();
    const key = await artefactKey('inputs', { windows: 4 });
    await saveBundle(store, 'tensors', { key, effort }, bundle);
    await saveJson(store, 'value', { key, effort }, 1);
    for (const other of [await artefactKey('others', { windows: 4 }), await artefactKey('inputs', { windows: 5 })]) {
      expect(await loadBundle(store, 'tensors', other)).toBeUndefined();
      expect(await loadJson(store, 'value', other)).toBeUndefined();
    }
    const bytes = (await store.read('tensors'))!;
    await store.write('tensors', bytes.subarray(0, bytes.length - 3));
    await store.write('value', new TextEncoder().encode('{"inputs":'));
    expect(await loadBundle(store, 'tensors', key)).toBeUndefined();
    expect(await loadJson(store, 'value', key)).toBeUndefined();
  });
});
