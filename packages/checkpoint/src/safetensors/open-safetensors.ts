import { KvlrError } from '@kvlr/core';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { fileMissing } from '../files/file-errors.ts';
import { readJsonObject } from '../files/read-json-object.ts';
import { parseSafetensorsHeader, safetensorsHeaderLength } from './parse-safetensors-header.ts';
import { type LocatedTensor, SafetensorsSource } from './safetensors-source.ts';

const indexName = 'model.safetensors.index.json';

/**
 * Reads the headers of a checkpoint's safetensors files: the shards that model.safetensors.index.json lists, else
 * model.safetensors, else the only file of that type. Throws 'file-missing', 'file-truncated', 'file-malformed',
 * 'tensor-missing'.
 */
export async function openSafetensors(files: CheckpointFiles): Promise<SafetensorsSource> {
  const names = await files.list();
  if (names.includes(indexName)) return openShards(files, names);
  const file = singleFile(files.location, names);
  return new SafetensorsSource(files, new Map((await readEntries(files, file)).map((tensor) => [tensor.name, tensor])));
}

async function openShards(files: CheckpointFiles, names: readonly string[]): Promise<SafetensorsSource> {
  const { weight_map: weightMap } = await readJsonObject(files, indexName);
  if (typeof weightMap !== 'object' || weightMap === null) {
    throw new KvlrError('file-malformed', {
      message: `openSafetensors: ${indexName}: expected weight_map to be an object, got ${typeof weightMap}`,
      hint: 'Download the index file again.',
      data: { location: files.location, file: indexName },
    });
  }
  const shardOf = new Map(Object.entries(weightMap).map(([tensor, file]) => [tensor, String(file)]));
  const tensors = new Map<string, LocatedTensor>();
  for (const shard of new Set(shardOf.values())) {
    // Also keeps an index from naming files outside the checkpoint.
    if (!names.includes(shard)) throw fileMissing(files.location, shard);
    for (const tensor of await readEntries(files, shard)) {
      if (shardOf.get(tensor.name) === shard) tensors.set(tensor.name, tensor);
    }
  }
  for (const [tensor, file] of shardOf) {
    if (tensors.has(tensor)) continue;
    throw new KvlrError('tensor-missing', {
      message: `openSafetensors: ${indexName} places ${tensor} in ${file}: expected it there, found none`,
      hint: 'Index and shards do not belong together: download the checkpoint again.',
      data: { location: files.location, file, tensor },
    });
  }
  return new SafetensorsSource(files, tensors);
}

function singleFile(location: string, names: readonly string[]): string {
  if (names.includes('model.safetensors')) return 'model.safetensors';
  const candidates = names.filter((name) => name.endsWith('.safetensors') && !name.includes('/'));
  if (candidates.length === 1) return candidates[0]!;
  throw fileMissing(location, 'model.safetensors');
}

async function readEntries(files: CheckpointFiles, file: string): Promise<LocatedTensor[]> {
  const fileSize = await files.size(file);
  const prefix = await files.read(file, 0, Math.min(8, fileSize));
  const headerLength = safetensorsHeaderLength(prefix, fileSize, file);
  const headerBytes = await files.read(file, 8, 8 + headerLength);
  return parseSafetensorsHeader(headerBytes, fileSize, file).tensors.map((tensor) => ({ ...tensor, file }));
}
