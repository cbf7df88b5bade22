import { countElements, KvlrError, type TensorDtype } from '@kvlr/core';
import { findNonFinite, isTensorDtype } from '../dtypes.ts';
import { type CheckpointFiles, pointerBytes, requireNoPointer } from '../files/files.ts';
import { decodeGguf } from './blocks.ts';
import { type GgufHeader, type GgufMetadata, type GgufTensorEntry, parseGgufHeader } from './header.ts';

const firstRead = 1024 * 1024;
/** Large tensors are read in pieces of about so many bytes, so that bytes and numbers do not lie in memory twice. */
const bytesAtOnce = 16 * 1024 * 1024;

/** The tensors of one GGUF file; each read takes only the byte range that it needs. */
export class GgufSource {
  readonly metadata: GgufMetadata;
  readonly file: string;
  readonly #files: CheckpointFiles;
  readonly #tensors: ReadonlyMap<string, GgufTensorEntry>;

  constructor(files: CheckpointFiles, file: string, { metadata, tensors }: GgufHeader) {
    this.#files = files;
    this.file = file;
    this.metadata = metadata;
    this.#tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  entries(): GgufTensorEntry[] {
    return [...this.#tensors.values()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Throws 'tensor-missing'. */
  entry(name: string): GgufTensorEntry {
    const tensor = this.#tensors.get(name);
    if (tensor !== undefined) return tensor;
    throw new KvlrError('tensor-missing', {
      message: `expected a tensor of this name in ${this.#files.location}, found none`,
      hint: 'The file is incomplete, or its architecture is another one than its metadata say.',
      where: { file: this.file, tensor: name },
      data: { location: this.#files.location, file: this.file, tensor: name },
    });
  }

  /** The type that a tensor has for the rest of kvlr: quantised ones are F32. */
  dtype(name: string): TensorDtype {
    const { type } = this.entry(name);
    return isTensorDtype(type.name) ? type.name : 'F32';
  }

  /** Bytes [from, to) of a tensor as the file holds it. */
  readByteRange(name: string, from: number, to: number): Promise<Uint8Array> {
    const { start } = this.entry(name);
    return this.#files.read(this.file, start + from, start + to);
  }

  /**
   * Rows [from, to) of a tensor as float32, by default all. Throws 'non-finite' on NaN or infinity, 'unsupported-feature' for
   * a type that is not read.
   */
  async readRows(name: string, from = 0, to?: number): Promise<Float32Array> {
    const { type, shape, byteLength } = this.entry(name);
    const width = shape.at(-1) ?? 1;
    const rows = countElements(shape) / width;
    const rowBytes = byteLength / rows;
    const end = to ?? rows;
    const values = new Float32Array((end - from) * width);
    const step = Math.max(1, Math.floor(bytesAtOnce / rowBytes));
    for (let row = from; row < end; row += step) {
      const last = Math.min(end, row + step);
      const decoded = decodeGguf(type, await this.readByteRange(name, row * rowBytes, last * rowBytes));
      values.set(decoded, (row - from) * width);
    }
    const element = findNonFinite(values);
    if (element === undefined) return values;
    throw new KvlrError('non-finite', {
      message: `expected finite numbers, got ${values[element]} at element ${from * width + element}`,
      hint: 'This weight is damaged: download the file again, or take another revision of the model.',
      where: { file: this.file, tensor: name },
      data: {
        location: this.#files.location,
        file: this.file,
        tensor: name,
        element,
        received: String(values[element]),
      },
    });
  }

  async close(): Promise<void> {
    await this.#files.close?.();
  }
}

/** Reads the header of a GGUF file, a growing part of it at a time, since nothing says how long it is. */
export async function openGgufSource(files: CheckpointFiles, file: string): Promise<GgufSource> {
  const fileSize = await files.size(file);
  const start = await files.read(file, 0, Math.min(pointerBytes, fileSize));
  requireNoPointer(files.location, file, new TextDecoder().decode(start));
  for (let length = firstRead; ; length *= 4) {
    const bytes = await files.read(file, 0, Math.min(length, fileSize));
    const header = parseGgufHeader(bytes, fileSize, file);
    if (header !== undefined) return new GgufSource(files, file, header);
  }
}
