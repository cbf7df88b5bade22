import { type EventListener, KvlrError, type TensorInfo, type TensorSource } from '@kvlr/core';
import { decodeFloats, findNonFinite } from '../dtypes.ts';
import { type CheckpointFiles, fileMissing, pointerBytes, readJsonObject, requireNoPointer } from '../files/files.ts';
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

  /** The same tensors under other names. */
  renamed(rename: (name: string) => string): SafetensorsSource {
    const tensors = [...this.#tensors].map(([name, tensor]) => [rename(name), tensor] as const);
    return new SafetensorsSource(this.#files, new Map(tensors));
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

  async readRows(name: string, from: number, to: number): Promise<Float32Array> {
    const { dtype, shape, byteLength } = this.#locate(name);
    const rowBytes = byteLength / shape[0]!;
    const values = decodeFloats(dtype, await this.readByteRange(name, from * rowBytes, to * rowBytes));
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
const wholeName = 'model.safetensors';
const shardName = /^(.+)-(\d+)-of-(\d+)\.safetensors$/;

/**
 * Reads the headers of a checkpoint's safetensors files: model.safetensors where it is there, as transformers does; else the shards
 * that the index lists; else shards that are complete by their names; else the only file of that type. Whatever it passes over is
 * told as a note. Throws 'file-missing', 'file-truncated', 'file-malformed', 'tensor-missing'.
 */
export async function openSafetensors(files: CheckpointFiles, onEvent?: EventListener): Promise<SafetensorsSource> {
  const names = await files.list();
  const indexed = names.includes(indexName) ? await readIndex(files) : undefined;
  const isWhole = names.includes(wholeName) && ![...(indexed?.values() ?? [])].includes(wholeName);
  if (indexed !== undefined && !isWhole) return openIndexed(files, names, indexed);
  if (indexed !== undefined) {
    onEvent?.({ type: 'note', message: `${wholeName} is read, and not the shards that ${indexName} beside it lists.` });
  }
  if (names.includes(wholeName)) return openUnindexed(files, [wholeName]);
  const shards = names.filter((name) => shardName.test(name));
  if (shards.length === 0) return openUnindexed(files, [onlyFile(files.location, names)]);
  requireAllShards(files.location, shards);
  onEvent?.({ type: 'note', message: `There is no ${indexName}: all ${shards.length} shards are read.` });
  return openUnindexed(files, shards);
}

/** Which file each tensor lies in. */
async function readIndex(files: CheckpointFiles): Promise<Map<string, string>> {
  const { weight_map: weightMap } = await readJsonObject(files, indexName);
  if (typeof weightMap === 'object' && weightMap !== null) {
    return new Map(Object.entries(weightMap).map(([tensor, file]) => [tensor, fileName(file)]));
  }
  throw new KvlrError('file-malformed', {
    message: `expected an object, got ${typeof weightMap}`,
    where: { file: indexName, argument: 'weight_map' },
    hint: 'Download the index file again.',
    data: { location: files.location, file: indexName },
  });
}

function fileName(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

async function openIndexed(
  files: CheckpointFiles,
  names: readonly string[],
  shardOf: ReadonlyMap<string, string>,
): Promise<SafetensorsSource> {
  const tensors = new Map<string, LocatedTensor>();
  for (const shard of new Set(shardOf.values())) {
    // Also keeps an index from naming files outside the checkpoint.
    if (!names.includes(shard)) throw shardMissing(files.location, shard, names);
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

/** The tensors of files without an index: no two may have one name. */
async function openUnindexed(files: CheckpointFiles, names: readonly string[]): Promise<SafetensorsSource> {
  const tensors = new Map<string, LocatedTensor>();
  for (const name of names) {
    for (const tensor of await readEntries(files, name)) {
      const other = tensors.get(tensor.name);
      if (other !== undefined) {
        throw new KvlrError('file-malformed', {
          message: `expected it in one file, found it in ${other.file} too`,
          where: { file: name, tensor: tensor.name },
          hint: `Put the ${indexName} of this model beside its shards: it says which one counts.`,
          data: { location: files.location, files: [other.file, name], tensor: tensor.name },
        });
      }
      tensors.set(tensor.name, tensor);
    }
  }
  return new SafetensorsSource(files, tensors);
}

/** Shards without an index have to be those of one model, from the first to the last. */
function requireAllShards(location: string, shards: readonly string[]): void {
  const [, start, digits, count] = shardName.exec(shards[0]!)!;
  const expected = Array.from({ length: Math.min(Number(count), 10_000) }, (_, position) => {
    return `${start}-${String(position + 1).padStart(digits!.length, '0')}-of-${count}.safetensors`;
  });
  const missing = expected.find((name) => !shards.includes(name));
  if (missing !== undefined) throw shardMissing(location, missing, shards);
  const foreign = shards.find((name) => !expected.includes(name));
  if (foreign === undefined) return;
  throw new KvlrError('file-malformed', {
    message: `expected the shards of one model in ${location}, got ${shards[0]} and ${foreign}`,
    hint: `Put the ${indexName} of this model beside its shards: it says which ones count.`,
    where: { file: foreign },
    data: { location, files: shards },
  });
}

function shardMissing(location: string, file: string, names: readonly string[]): KvlrError {
  const present = names.filter((name) => name.endsWith('.safetensors'));
  return new KvlrError('file-missing', {
    message: `expected this shard in ${location}, found ${present.length === 0 ? 'none' : present.slice(0, 4).join(', ')}`,
    where: { file },
    hint: 'Load the missing shard: a checkpoint in shards needs all of them.',
    data: { location, file, present },
  });
}

function onlyFile(location: string, names: readonly string[]): string {
  const candidates = names.filter((name) => name.endsWith('.safetensors') && !name.includes('/'));
  if (candidates.length === 1) return candidates[0]!;
  const others = names.filter((name) => /\.(bin|pth|pt|ckpt|h5|msgpack)$/.test(name));
  if (candidates.length === 0 && others.length === 0) throw fileMissing(location, wholeName);
  const found = candidates.length > 0 ? candidates : others;
  const hint =
    candidates.length > 0
      ? `Leave one file of weights in that directory, or name the one that is meant ${wholeName}.`
      : `Convert the weights with transformers: python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('DIR').save_pretrained('NEW')", DIR being the checkpoint, and put the tokenizer's files beside them.`;
  throw new KvlrError('file-missing', {
    message: `expected this file in ${location}, found ${found.slice(0, 4).join(', ')}`,
    where: { file: wholeName },
    hint,
    data: { location, file: wholeName, present: found },
  });
}

async function readEntries(files: CheckpointFiles, file: string): Promise<LocatedTensor[]> {
  const fileSize = await files.size(file);
  const prefix = await files.read(file, 0, Math.min(pointerBytes, fileSize));
  requireNoPointer(files.location, file, new TextDecoder().decode(prefix));
  const headerLength = safetensorsHeaderLength(prefix, fileSize, file);
  const headerBytes = await files.read(file, 8, 8 + headerLength);
  return parseSafetensorsHeader(headerBytes, fileSize, file).tensors.map((tensor) => ({ ...tensor, file }));
}
