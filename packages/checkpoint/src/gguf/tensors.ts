import { countElements, type DecoderShape, type TensorInfo, type TensorSource } from '@kvlr/core';
import type { GgufFamily } from '../architectures/architecture.ts';
import { encodeFloats, isTensorDtype, tensorByteLength } from '../dtypes.ts';
import type { StoredPart, TensorLayout } from '../model/stored-tensors.ts';
import { isPermuted, permuteHeads, scaleOffset } from './names.ts';
import type { GgufSource } from './source.ts';

/** A tensor of the decoder, and the tensor of the file that holds it. */
interface Place {
  /** Name in the file. */
  stored: string;
  part: StoredPart;
}

/**
 * The tensors of a GGUF file under the names that a checkpoint of the family in Hugging Face form gives them, with its order of
 * rows and its scales: quantised ones are F32, the others have the type of the file.
 */
export class GgufTensors implements TensorSource {
  readonly #source: GgufSource;
  readonly #shape: DecoderShape;
  readonly #family: GgufFamily;
  readonly #places = new Map<string, Place>();

  /** `inFile`: where the tensors lie in the file. */
  constructor(
    source: GgufSource,
    shape: DecoderShape,
    { family, inFile, layout }: { family: GgufFamily; inFile: TensorLayout; layout: TensorLayout },
  ) {
    this.#source = source;
    this.#shape = shape;
    this.#family = family;
    for (const { name: stored, parts } of inFile.stored(shape)) {
      for (const part of parts) this.#places.set(layout.tensorName(part.role, part.layer), { stored, part });
    }
  }

  list(): TensorInfo[] {
    return [...this.#places.keys()].map((name) => this.info(name));
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  info(name: string): TensorInfo {
    const { stored, part } = this.#place(name);
    const dtype = this.#source.dtype(stored);
    return { name, dtype, shape: [...part.shape], byteLength: tensorByteLength(dtype, part.shape) };
  }

  async readBytes(name: string): Promise<Uint8Array> {
    const { stored, part } = this.#place(name);
    const { role, shape, rows } = part;
    const { type } = this.#source.entry(stored);
    if (!isTensorDtype(type.name) || scaleOffset(this.#shape, role) !== 0) {
      return encodeFloats('F32', await this.readFloat32(name));
    }
    const [from, to] = rows[0]!;
    const rowBytes = countElements(shape.slice(1)) * type.blockBytes;
    const bytes = await this.#source.readByteRange(stored, from * rowBytes, to * rowBytes);
    return this.#inModelOrder(bytes, part);
  }

  async readFloat32(name: string): Promise<Float32Array> {
    const { stored, part } = this.#place(name);
    const [from, to] = part.rows[0]!;
    // A vector is one row of the file.
    const isVector = part.shape.length === 1;
    const all = await (isVector ? this.#source.readRows(stored) : this.#source.readRows(stored, from, to));
    const values = this.#inModelOrder(isVector ? all.slice(from, to) : all, part);
    const offset = scaleOffset(this.#shape, part.role);
    return offset === 0 ? values : values.map((value) => value - offset);
  }

  close(): Promise<void> {
    return this.#source.close();
  }

  #inModelOrder<Data extends Float32Array | Uint8Array>(rows: Data, part: StoredPart): Data {
    return isPermuted(this.#shape, this.#family, part.role)
      ? permuteHeads(rows, part, this.#shape.headDim, 'model')
      : rows;
  }

  #place(name: string): Place {
    const place = this.#places.get(name);
    // The file's own error, of the name that was asked for.
    if (place === undefined) this.#source.entry(name);
    return place!;
  }
}
