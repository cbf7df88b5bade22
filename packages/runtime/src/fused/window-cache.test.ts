import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../decoder/load-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';

const ids = randomTokenIds(24, 50);
const source = createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true });

describe.each(await testedBackends())('windows behind a coded cache on $backend', ({ backend, skip }) => {
  // An emulated GPU takes seconds for the shaders of one format.
  const tested = backend === 'webgpu' ? (['int8'] as const) : (['f16', 'int8', 'int4'] as const);
  // How far coding alone moves the logits, at least: what is compared is not the f32 model twice.
  const moved = { f16: 1e-6, int8: 1e-4, int4: 1e-3 } as const;

  it.skipIf(skip).each(tested)('%s: are what decoding token by token gives', async (dtype) => {
    const exact = await loadModel(source, { backend, weights: 'f32' });
    const coded = await loadModel(source, { backend, weights: 'f32', cache: { dtype } });
    const window = await coded.logits(ids);
    const cache = await coded.createCache(ids.length);
    expect(cache.dtype).toBe(dtype);
    const decoded: number[] = [];
    for (const id of ids) decoded.push(...(await coded.extend(cache, [id])));
    expect(differenceByRange(window, decoded)).toBeLessThan(1e-5);
    expect(differenceByRange(window, await exact.logits(ids))).toBeGreaterThan(moved[dtype]);
    cache.dispose();
    coded.dispose();
    exact.dispose();
  });
});
