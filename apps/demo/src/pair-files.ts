import {
  configFromModelShape,
  createMemoryFiles,
  encodeSafetensors,
  type HuggingFaceCheckpoint,
  openCheckpoint,
  planTensors,
} from '@kvlr/checkpoint';
import { isCompressedRole, type ModelSource } from '@kvlr/core';

/** Names of the files of a pair: those by which it differs from the original. */
export const pairFileNames = ['config.json', 'model.safetensors.index.json', 'changed.safetensors'] as const;

/** A compressed model as the files by which it differs from the original. Beside the original's they are a checkpoint of two shards. */
export type PairFiles = Record<(typeof pairFileNames)[number], Uint8Array>;

const originalWeights = 'model.safetensors';
const changedWeights = 'changed.safetensors';

/** Writes what a compressed model has of its own: config, and the tensors of its attention. */
export async function encodePair(model: ModelSource, original: HuggingFaceCheckpoint): Promise<PairFiles> {
  const changed = [];
  const weightMap: Record<string, string> = {};
  for (const { name, dtype, shape, parts, read } of planTensors(model, { source: original })) {
    const isChanged = parts.some(({ role }) => isCompressedRole(role));
    weightMap[name] = isChanged ? changedWeights : originalWeights;
    if (isChanged) changed.push({ name, dtype, shape, bytes: await read() });
  }
  const config = configFromModelShape(model.shape, original.architecture, 'float16', original.config);
  return {
    'config.json': encodeJson(config),
    'model.safetensors.index.json': encodeJson({ metadata: {}, weight_map: weightMap }),
    'changed.safetensors': encodeSafetensors(changed),
  };
}

/** The compressed model: its own files over those of the original. */
export function openPair(
  own: PairFiles,
  original: Readonly<Record<string, Uint8Array>>,
): Promise<HuggingFaceCheckpoint> {
  return openCheckpoint(createMemoryFiles({ ...original, ...own }, 'this page'));
}

function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
