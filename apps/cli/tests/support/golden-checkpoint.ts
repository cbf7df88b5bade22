import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createMemoryFiles, encodeSafetensors, openCheckpoint, planTensors } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { asciiTokenizerFiles, readGolden } from '@kvlr/testkit';

export interface GoldenChanges {
  /** Entries of config.json. */
  config?: Record<string, unknown>;
  /** As many layers, by repeating those that there are. */
  layers?: number;
  /** Tensors under other names, maybe several times; each further one has its bytes shifted by a number. */
  names?: (name: string) => string[];
}

/** A golden checkpoint with a tokenizer, maybe changed so that llama.cpp has it. */
export async function openGolden(name: string, { config, layers, names = (name) => [name] }: GoldenChanges = {}) {
  const golden = readGolden(name);
  const plain = await openCheckpointDirectory(golden.directory);
  const tensors = [];
  const count = plain.shape.numLayers;
  for (const info of planTensors(plain, { source: plain })) {
    const bytes = await info.read();
    for (let copy = 0; copy * count < (layers ?? count); copy++) {
      const renamed = info.name.replace(/layers\.(\d+)/, (_, layer) => `layers.${Number(layer) + copy * count}`);
      if (copy > 0 && renamed === info.name) continue;
      for (const [index, own] of names(renamed).entries())
        tensors.push({ ...info, name: own, bytes: shifted(bytes, index) });
    }
  }
  await plain.close();
  const own = JSON.parse(await readFile(join(golden.directory, 'config.json'), 'utf8'));
  return openCheckpoint(
    createMemoryFiles({
      ...asciiTokenizerFiles(),
      'config.json': JSON.stringify({ ...own, ...(layers && { num_hidden_layers: layers }), ...config }),
      'model.safetensors': encodeSafetensors(tensors),
    }),
  );
}

function shifted(bytes: Uint8Array, numbers: number): Uint8Array {
  return Uint8Array.from([...bytes.subarray(4 * numbers), ...bytes.subarray(0, 4 * numbers)]);
}
