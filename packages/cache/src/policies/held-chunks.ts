import { type ChunkFetching, fromHalf, KvlrError, toHalf } from '@kvlr/core';

/** What a slot holds of chunks of tokens whose values lie in host memory, and which of them its queries read. */
export class HeldChunks {
  /** Tokens that there were when the policy was last asked. */
  private settled = 0;
  private chunks = 0;
  /** Of each of them: whether its value never leaves the device. */
  private resident = new Uint8Array(0);
  /** Chunks with tokens that are not resident, and the landmarks of these, [chunks, width]. */
  private candidates: number[] = [];
  private landmarks = new Float32Array(0);
  /** Chunks that a query may read. */
  private count = 0;

  constructor(
    private readonly fetching: ChunkFetching,
    private readonly width: number,
    private readonly title: string,
  ) {}

  get settledTokens(): number {
    return this.settled;
  }

  /** Bytes of the landmarks of all chunks, in halves. */
  get byteLength(): number {
    return 2 * this.width * this.chunks;
  }

  /** Whether the value of a token never leaves the device. */
  isResident(place: number): boolean {
    return this.resident[place] === 1;
  }

  /** Places of these tokens, ascending. */
  get residents(): Int32Array {
    return Int32Array.from({ length: this.settled }, (_, place) => place).filter((place) => this.isResident(place));
  }

  /**
   * Takes over the keys of all tokens, [tokens, width].
   *
   * @param resident Places whose values stay on the device.
   * @param budget Tokens whose values a query may read, these included.
   */
  settle(keys: Float32Array, resident: Int32Array, budget: number): void {
    const { width, fetching } = this;
    const { chunkTokens } = fetching;
    this.settled = keys.length / width;
    this.chunks = this.settled / chunkTokens;
    this.resident = new Uint8Array(this.settled);
    for (const place of resident) this.resident[place] = 1;
    this.candidates = Array.from({ length: this.chunks }, (_, chunk) => chunk).filter((chunk) =>
      this.resident.subarray(chunk * chunkTokens, (chunk + 1) * chunkTokens).includes(0),
    );
    this.landmarks = new Float32Array(this.candidates.length * width);
    this.candidates.forEach((chunk, i) => {
      this.landmarks.set(landmarkOf(keys, width, chunk * chunkTokens, chunkTokens), i * width);
    });
    this.count = Math.floor((budget - resident.length) / chunkTokens);
  }

  /**
   * Places that a token's queries read, ascending.
   *
   * @param queries Of the slot's heads, [heads, width].
   * @param tokens Tokens that the query may see; those since the policy was asked are read.
   */
  placesRead(queries: Float32Array, tokens: number): Int32Array {
    const { chunkTokens } = this.fetching;
    const isRead = new Uint8Array(this.chunks);
    for (const chunk of this.chosen(queries)) isRead[this.candidates[chunk]!] = 1;
    const places: number[] = [];
    for (let place = 0; place < tokens; place++) {
      if (place >= this.settled || this.resident[place] || isRead[Math.floor(place / chunkTokens)]) places.push(place);
    }
    return Int32Array.from(places);
  }

  copyFrom(other: HeldChunks): void {
    Object.assign(this, {
      ...{ settled: other.settled, chunks: other.chunks, count: other.count },
      ...{ resident: other.resident, candidates: other.candidates, landmarks: other.landmarks },
    });
  }

  private chosen(queries: Float32Array): Int32Array {
    const { landmarks, count, width } = this;
    const chunks = this.candidates.length;
    if (count >= chunks) return Int32Array.from({ length: chunks }, (_, chunk) => chunk);
    if (count === 0) return new Int32Array(0);
    const chosen = this.fetching.choose({ queries, keyWidth: width, landmarks, count });
    const ascends = chosen.every((chunk, i) => chunk >= 0 && chunk < chunks && !(chunk <= chosen[i - 1]!));
    if (ascends && chosen.length <= count) return chosen;
    throw new KvlrError('plugin-invalid', {
      message: `expected at most ${count} of ${chunks} chunks, ascending, from the cache policy "${this.title}", got ${chosen.length}`,
      hint: 'Return places among the landmarks, from 0, none twice.',
      data: { count, chunks, received: chosen.length },
    });
  }
}

/** Mean of some keys, in halves as a device stores it. */
function landmarkOf(keys: Float32Array, width: number, from: number, tokens: number): Float32Array {
  return Float32Array.from({ length: width }, (_, c) => {
    let sum = 0;
    for (let token = from; token < from + tokens; token++) sum += keys[token * width + c]!;
    return fromHalf(toHalf(sum / tokens));
  });
}
