import { type FileHandle, open } from 'node:fs/promises';
import type { ByteSink } from '../files/byte-sink.ts';
import { writeError } from './write-error.ts';

/** A file that is written from front to back. Throws 'disk-full' and 'write-failed'. */
class FileSink implements ByteSink {
  readonly #path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  static async open(path: string): Promise<FileSink> {
    try {
      return new FileSink(path, await open(path, 'w'));
    } catch (error) {
      throw writeError(error, path);
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      let written = 0;
      while (written < bytes.length) {
        written += (await this.#handle.write(bytes, written, bytes.length - written)).bytesWritten;
      }
    } catch (error) {
      throw writeError(error, this.#path);
    }
  }

  /** Waits until the bytes are on the disk: a full disk may show itself only now. */
  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (error) {
      throw writeError(error, this.#path);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Opens a file, hands it to `fill`, and closes it whatever happens. */
export async function fillFile(path: string, fill: (sink: ByteSink) => Promise<void>): Promise<void> {
  const sink = await FileSink.open(path);
  try {
    await fill(sink);
    await sink.finish();
  } finally {
    await sink.close();
  }
}
