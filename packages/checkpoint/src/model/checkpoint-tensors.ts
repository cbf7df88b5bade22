import {
  countElements,
  decoderTensors,
  KvlrError,
  type ModelSource,
  type TensorInfo,
  type TensorSource,
} from '@kvlr/core';
import { decodeFloats, dtypeSize, findNonFinite, tensorByteLength } from '../dtypes.ts';
import type { SafetensorsSource } from '../safetensors/read.ts';
import { cutPart, isPlain, type StoredPart, type StoredTensor } from './stored-tensors.ts';

interface Virtual {
  stored: StoredTensor;
  part: StoredPart;
}

/**
 * A decoder's tensors, each [out, in] under a name of its own, over files that may hold several as one or hold them transposed.
 * What the decoder does not use is there under its own name.
 */
export class CheckpointTensors implements TensorSource {
  readonly #files: SafetensorsSource;
  /** Where each tensor of another name than a stored one lies; of several pieces from the first row on. */
  readonly #virtual = new Map<string, Virtual[]>();
  /** Stored tensors that are shown as other ones. */
  readonly #hidden = new Map<string, StoredTensor>();

  constructor(files: SafetensorsSource, layout: readonly StoredTensor[]) {
    this.#files = files;
    for (const stored of layout.filter((tensor) => !isPlain(tensor))) {
      this.#hidden.set(stored.name, stored);
      for (const part of stored.parts) {
        this.#virtual.set(part.name, [...(this.#virtual.get(part.name) ?? []), { stored, part }]);
      }
    }
  }

  list(): TensorInfo[] {
    return this.#files.list().flatMap((info) => {
      const parts = this.#hidden.get(info.name)?.parts.filter(({ piece }) => piece === undefined || piece.from === 0);
      return parts?.map(({ name }) => this.info(name)) ?? [info];
    });
  }

  has(name: string): boolean {
    const virtual = this.#virtual.get(name);
    return virtual === undefined
      ? this.#files.has(name) && !this.#hidden.has(name)
      : virtual.every(({ stored }) => this.#files.has(stored.name));
  }

  info(name: string): TensorInfo {
    const [virtual] = this.#virtual.get(name) ?? [];
    if (virtual === undefined) return this.#files.info(name);
    const { dtype } = this.#files.info(virtual.stored.name);
    const { shape, piece } = virtual.part;
    const whole = [piece?.of ?? shape[0]!, ...shape.slice(1)];
    return { name, dtype, shape: whole, byteLength: tensorByteLength(dtype, whole) };
  }

  async readBytes(name: string): Promise<Uint8Array> {
    const pieces = this.#virtual.get(name);
    if (pieces === undefined) return this.#files.readBytes(name);
    if (pieces.length === 1) return this.#readPart(pieces[0]!);
    const whole = new Uint8Array(this.info(name).byteLength);
    let place = 0;
    for (const piece of pieces) {
      const bytes = await this.#readPart(piece);
      whole.set(bytes, place);
      place += bytes.length;
    }
    return whole;
  }

  async #readPart({ stored, part }: Virtual): Promise<Uint8Array> {
    const { dtype } = this.#files.info(stored.name);
    const [first, ...more] = part.rows;
    if (stored.transposed || more.length > 0) {
      return cutPart(stored, part, await this.#files.readBytes(stored.name), dtypeSize(dtype));
    }
    const rowBytes = countElements(part.shape.slice(1)) * dtypeSize(dtype);
    return this.#files.readByteRange(stored.name, first![0] * rowBytes, first![1] * rowBytes);
  }

  async readFloat32(name: string): Promise<Float32Array> {
    const [virtual] = this.#virtual.get(name) ?? [];
    if (virtual === undefined) return this.#files.readFloat32(name);
    const values = decodeFloats(this.info(name).dtype, await this.readBytes(name));
    const element = findNonFinite(values);
    if (element !== undefined) throw this.#files.nonFinite(virtual.stored.name, values, element).with({ tensor: name });
    return values;
  }

  async readRows(name: string, from: number, to: number): Promise<Float32Array> {
    if (!this.#virtual.has(name)) return this.#files.readRows(name, from, to);
    const width = countElements(this.info(name).shape.slice(1));
    return (await this.readFloat32(name)).subarray(from * width, to * width);
  }

  close(): Promise<void> {
    return this.#files.close();
  }
}

/**
 * Checks that a model has every tensor its shape asks for, in the right size, before anything is computed.
 * Throws 'tensor-missing' and 'tensor-shape', naming the tensor.
 */
export function checkTensors(
  expected: readonly Pick<StoredTensor, 'name' | 'shape'>[],
  tensors: Pick<TensorSource, 'info'>,
  location: string,
): void {
  for (const { name, shape } of expected) {
    const info = tensors.info(name);
    if (info.shape.length === shape.length && info.shape.every((size, axis) => size === shape[axis])) continue;
    throw new KvlrError('tensor-shape', {
      message: `expected [${shape}] as config.json says, got [${info.shape}]`,
      hint: 'config.json and the weights do not belong together: download the checkpoint again.',
      where: { file: location, tensor: name },
      data: { location, tensor: name, expected: shape, received: info.shape },
    });
  }
}

/** `checkTensors` of a model that is in no files: every tensor under the name that the model gives it. */
export function checkModel(model: Pick<ModelSource, 'shape' | 'tensors' | 'tensorName'>, location: string): void {
  const expected = decoderTensors(model.shape).map(({ role, layer, shape }) => {
    return { name: model.tensorName(role, layer), shape };
  });
  checkTensors(expected, model.tensors, location);
}
