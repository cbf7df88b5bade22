import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStreamStore, type StreamStorage, type StreamStore } from '@kvlr/core';
import { toFileError } from './file-error.ts';

/**
 * Streams that go to disk beyond a number of bytes.
 *
 * @param memoryBytes That one store holds in memory; default 1 GiB.
 * @param parent Directory for temporary files.
 */
export function spilledStreams(memoryBytes = 2 ** 30, parent = tmpdir()): StreamStorage {
  return { memoryBytes, open: () => new SpilledStreamStore(memoryBytes, parent) };
}

/**
 * Residual streams of windows between two layers: in memory up to a limit, and beyond it in a file of a directory for temporary files.
 * Where systems allow it the file has no name from the beginning, so that nothing is left however the process ends; on Windows it goes
 * when the store is closed.
 */
class SpilledStreamStore implements StreamStore {
  readonly #memory = new MemoryStreamStore();
  /** Bytes of the windows in memory. */
  readonly #held = new Map<number, number>();
  /** Where each window begins in the file, and how many numbers it has. */
  readonly #places = new Map<number, { position: number; length: number }>();
  #file: Promise<{ handle: FileHandle; directory: string }> | undefined;
  #end = 0;

  constructor(
    private readonly memoryBytes: number,
    private readonly parent: string,
  ) {}

  async write(window: number, stream: Float32Array): Promise<void> {
    const held = [...this.#held].reduce((sum, [other, bytes]) => (other === window ? sum : sum + bytes), 0);
    if (!this.#places.has(window) && held + stream.byteLength <= this.memoryBytes) {
      this.#held.set(window, stream.byteLength);
      return this.#memory.write(window, stream);
    }
    const { handle } = await this.#open();
    const place = this.#places.get(window) ?? { position: this.#end, length: stream.length };
    if (!this.#places.has(window)) this.#end += stream.byteLength;
    this.#places.set(window, place);
    const bytes = new Uint8Array(stream.buffer, stream.byteOffset, stream.byteLength);
    await this.#moveAll(bytes.length, async (done) => {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, place.position + done);
      return bytesWritten;
    });
  }

  async read(window: number): Promise<Float32Array> {
    const place = this.#places.get(window);
    if (place === undefined) return this.#memory.read(window);
    const { handle } = await this.#open();
    const stream = new Float32Array(place.length);
    const bytes = new Uint8Array(stream.buffer);
    await this.#moveAll(bytes.length, async (done) => {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, place.position + done);
      return bytesRead;
    });
    return stream;
  }

  async close(): Promise<void> {
    await this.#memory.close();
    const opened = await this.#file?.catch(() => undefined);
    this.#file = undefined;
    await opened?.handle.close();
    if (opened) await rm(opened.directory, { recursive: true, force: true });
  }

  #open(): Promise<{ handle: FileHandle; directory: string }> {
    this.#file ??= (async () => {
      const directory = await mkdtemp(join(this.parent, 'kvlr-streams-'));
      try {
        const handle = await open(join(directory, 'streams'), 'w+');
        if (process.platform !== 'win32') await rm(directory, { recursive: true });
        return { directory, handle };
      } catch (error) {
        await rm(directory, { recursive: true, force: true });
        throw toFileError(directory, error);
      }
    })();
    return this.#file;
  }

  /** Moves bytes until all are: one call may move fewer. */
  async #moveAll(length: number, move: (done: number) => Promise<number>): Promise<void> {
    try {
      for (let done = 0; done < length; ) {
        const moved = await move(done);
        if (moved === 0) throw new Error(`${done} of ${length} bytes`);
        done += moved;
      }
    } catch (error) {
      throw toFileError(this.parent, error);
    }
  }
}
