/**
 * Port: where the residual streams of windows, [tokens, hiddenSize] each, lie between two layers. An array that went in or came out may be
 * the one that is kept: nobody changes it.
 */
export interface StreamStore {
  write(window: number, stream: Float32Array): Promise<void>;
  /** What was written last for this window. */
  read(window: number): Promise<Float32Array>;
  /** Forgets everything. */
  close(): Promise<void>;
}

/** Port: opens stores of streams. */
export interface StreamStorage {
  /** Bytes at most that one store holds in memory; undefined: all that it is given. */
  readonly memoryBytes?: number | undefined;
  open(): StreamStore;
}

/** Streams in memory. */
export class MemoryStreamStore implements StreamStore {
  private readonly streams = new Map<number, Float32Array>();

  async write(window: number, stream: Float32Array): Promise<void> {
    this.streams.set(window, stream);
  }

  async read(window: number): Promise<Float32Array> {
    return this.streams.get(window)!;
  }

  async close(): Promise<void> {
    this.streams.clear();
  }
}

export const memoryStreams: StreamStorage = { open: () => new MemoryStreamStore() };
