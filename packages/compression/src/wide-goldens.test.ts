import { applyCompression } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { expectClose, goldenNames, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from './compress-by-name.ts';
import { readAttentionWeights } from './source-layer.ts';

/** The checkpoints that transformers has run: packages/runtime holds its logits against kvlr's. */
describe.each(goldenNames('goldens-wide'))('%s with one wide head', (name) => {
  it('is what this version makes of its source', async () => {
    const source = await openCheckpointDirectory(readGolden(name).directory);
    const golden = await openCheckpointDirectory(readGolden(name, 'goldens-wide').directory);
    const { shape } = source;
    const groups = [Array.from({ length: shape.numKeyValueHeads }, (_, head) => head)];
    const layers = shape.layers.map(async (_, layer) => {
      const weights = await readAttentionWeights(source, layer);
      return compressLayer({ shape, layer, weights, groups, method: 'svd-w', headWidth: 2 });
    });
    const made = applyCompression(source, await Promise.all(layers));
    expect(made.shape).toEqual(golden.shape);
    for (const { name: tensor } of golden.tensors.list()) {
      expectClose(await made.tensors.readFloat32(tensor), await golden.tensors.readFloat32(tensor), 1e-6);
    }
    await golden.close();
    await source.close();
  });
});
