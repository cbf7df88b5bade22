import { KvlrError, type TensorInfo, type TensorSource } from '@kvlr/core';
import { decodeFloats } from '../dtypes/decode-floats.ts';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { findNonFinite } from './find-non-finite.ts';
import type { TensorEntry } from './parse-safetensors-header.ts';

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
    const { file, dtype } = this.#locate(name);
    const values = decodeFloats(dtype, await this.readBytes(name));
    const element = findNonFinite(values);
    if (element !== undefined) {
      throw new KvlrError('non-finite', {
        message: `readFloat32: ${file}: expected finite numbers in ${name}, got ${values[element]} at element ${element}`,
        hint: 'This weight is damaged: download the file again, or take another revision of the model.',
        data: { location: this.#files.location, file, tensor: name, element, received: String(values[element]) },
      });
    }
    return values;
  }

  async close(): Promise<void> {
    await this.#files.close?.();
  }

  #locate(name: string): LocatedTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      throw new KvlrError('tensor-missing', {
        message: `readTensor: expected a tensor named ${name} in ${this.#files.location}, found none`,
        hint: 'The checkpoint is incomplete, or its architecture names tensors differently.',
        data: { location: this.#files.location, tensor: name },
      });
    }
    return tensor;
  }
}
