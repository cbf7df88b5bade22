import { KvlrError, type TensorInfo, type TensorSource } from '@kvlr/core';
import { decodeFloats, findNonFinite } from '../dtypes.ts';
import { type CheckpointFiles, fileMissing, readJsonObject } from '../files/files.ts';
import { parseSafetensorsHeader, safetensorsHeaderLength, type TensorEntry } from './header.ts';

/** A tensor and the file it lies in. */
export interface LocatedTensor extends TensorEntry {
  file: string;
}

/** The tensors of one or many safetensors files; each read takes only the tensor's own byte range. */
export class SafetensorsSource implements TensorSource {
  readonly #files: CheckpointFiles;
  readonly #tensors: ReadonlyMap<string, LocatedTensor>;

  constructor(files: CheckpointFiles, tensors: ReadonlyMap<string, LocatedTensor>) {
    this.#files = files;
    this.#tensors = tensors;
  }

  list(): TensorInfo[] {
    return [...this.#tensors.keys()].map((name) => this.info(name));
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  info(name: string): TensorInfo {
    const { dtype, shape, byteLength } = this.#locate(name);
    return { name, dtype, shape, byteLength };
  }

  readBytes(name: string): Promise<Uint8Array> {
    const { file, start, end } = this.#locate(name);
    return this.#files.read(file, start, end);
  }

  /** Bytes [from, to) of one tensor. */
  readByteRange(name: string, from: number, to: number): Promise<Uint8Array> {
    const { file, start } = this.#locate(name);
    return this.#files.read(file, start + from, start + to);
  }

  async readFloat32(name: string): Promise<Float32Array> {
    const { dtype } = this.#locate(name);
    const values = decodeFloats(dtype, await this.readBytes(name));
    const element = findNonFinite(values);
    if (element !== undefined) throw this.nonFinite(name, values, element);
    return values;
  }

  /** What reading a tensor throws whose numbers are not finite. */
  nonFinite(name: string, values: Float32Array, element: number): KvlrError {
    const { file } = this.#locate(name);
    return new KvlrError('non-finite', {
      message: `expected finite numbers, got ${values[element]} at element ${element}`,
      hint: 'This weight is damaged: download the file again, or take another revision of the model.',
      where: { file, tensor: name },
      data: { location: this.#files.location, file, tensor: name, element, received: String(values[element]) },
    });
  }

  async close(): Promise<void> {
    await this.#files.close?.();
  }

  #locate(name: string): LocatedTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      throw new KvlrError('tensor-missing', {
        message: `expected a tensor of this name in ${this.#files.location}, found none`,
        where: { tensor: name },
        hint: 'The checkpoint is incomplete, or its architecture names tensors differently.',
        data: { location: this.#files.location, tensor: name },
      });
    }
    return tensor;
  }
}

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
      message: `expected an object, got ${typeof weightMap}`,
      where: { file: indexName, argument: 'weight_map' },
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
      message: `expected it in ${file}, as the index says, found none`,
      where: { file: indexName, tensor },
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
