// Writes the checkpoints of packages/testkit/goldens-wide: golden checkpoints of some families with their KV heads in one that is
// wider, as kvlr writes them. Needs a build. wide-heads.py then adds what transformers computes with them.
import { applyCompression } from '../../packages/checkpoint/dist/index.js';
import { openCheckpointDirectory, writeCheckpointDirectory } from '../../packages/checkpoint/dist/node.js';
import { compressLayer, readAttentionWeights } from '../../packages/compression/dist/index.js';

const goldens = new URL('../../packages/testkit/', import.meta.url).pathname;
/** Half as many numbers in the cache, or as many: then the logits are the source's. */
const headWidths = { llama_mha: 2, llama_llama3: 2, mistral: 2, qwen2_bias: 2 };

for (const [name, headWidth] of Object.entries(headWidths)) {
  const source = await openCheckpointDirectory(`${goldens}goldens/${name}`);
  const { shape } = source;
  const groups = [shape.layers[0].cache.keySlots].map((count) => Array.from({ length: count }, (_, head) => head));
  const layers = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const weights = await readAttentionWeights(source, layer);
    layers.push(compressLayer({ shape, layer, weights, groups, method: 'svd-w', headWidth }));
  }
  const wide = applyCompression(source, layers);
  await writeCheckpointDirectory(`${goldens}goldens-wide/${name}`, wide, { source, overwrite: true });
  await source.close();
}
