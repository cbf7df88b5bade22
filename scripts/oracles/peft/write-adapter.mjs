/**
 * Writes packages/testkit/goldens-adapters/from-kvlr: an adapter of all seven projections over goldens/llama_gqa_bias, of seeded
 * random numbers, as kvlr writes adapters. `peft-adapters.py` loads it with peft.
 * Needs a built tree. Usage: node scripts/oracles/peft/write-adapter.mjs
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openCheckpointDirectory } from '../../../packages/checkpoint/dist/node.js';
import { createNormalRandom } from '../../../packages/core/dist/index.js';
import { encodePeftAdapter, trainingTargets } from '../../../packages/recovery/dist/index.js';

const testkit = fileURLToPath(new URL('../../../packages/testkit/', import.meta.url));
const model = await openCheckpointDirectory(join(testkit, 'goldens/llama_gqa_bias'));
const rank = 2;
const normal = createNormalRandom(4);
const numbers = (rows, columns) => ({
  shape: [rows, columns],
  data: Float32Array.from({ length: rows * columns }, () => Math.fround(0.3 * normal())),
});
const roles = ['query', 'key', 'value', 'output', 'gate', 'up', 'down'];
const layers = model.shape.layers.map(
  (_, layer) =>
    new Map(
      trainingTargets.map((target, index) => {
        const [outputs, width] = model.tensors.info(model.tensorName(`${roles[index]}Weight`, layer)).shape;
        return [target, { down: numbers(rank, width), up: numbers(outputs, rank) }];
      }),
    ),
);
const folder = join(testkit, 'goldens-adapters/from-kvlr');
await mkdir(folder, { recursive: true });
const files = encodePeftAdapter({ rank, alpha: 3, dropout: 0.05, layers }, model, 'goldens/llama_gqa_bias');
for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
await model.close();
