/** 32-bit words that `count` codes of so many bits take. */
export function codeWords(count: number, bits: number): number {
  return Math.ceil((count * bits) / 32);
}

/**
 * Writes codes of 1 to 8 bits one behind another from word `at` on, the lowest bits of the lowest word first; a code may lie across
 * two words. 32 codes of b bits take b words.
 */
export function packCodes(codes: Uint8Array, bits: number, words: Uint32Array, at: number): void {
  const writer = new BitWriter(words, at);
  for (const code of codes) writer.write(code, bits);
  writer.finish();
}

/** Reads the codes that `packCodes` wrote from word `at` on, as many as `codes` holds. */
export function unpackCodes(words: Uint32Array, at: number, bits: number, codes: Uint8Array): void {
  const reader = new BitReader(words, at);
  for (let i = 0; i < codes.length; i++) codes[i] = reader.read(bits);
}

/** Writes numbers of 0 to 8 bits into words, in the order of `packCodes`. */
class BitWriter {
  private word = 0;
  private used = 0;

  constructor(
    private readonly words: Uint32Array,
    private at: number,
  ) {}

  write(code: number, bits: number): void {
    this.word |= code << this.used;
    this.used += bits;
    if (this.used < 32) return;
    this.words[this.at++] = this.word >>> 0;
    this.used -= 32;
    this.word = this.used === 0 ? 0 : code >>> (bits - this.used);
  }

  /** Writes the word that is not full. */
  finish(): void {
    if (this.used > 0) this.words[this.at] = this.word >>> 0;
  }
}

/** Reads what `BitWriter` wrote. */
class BitReader {
  private bit = 0;

  constructor(
    private readonly words: Uint32Array,
    private readonly at: number,
  ) {}

  read(bits: number): number {
    const word = this.at + (this.bit >>> 5);
    const shift = this.bit & 31;
    this.bit += bits;
    const low = this.words[word]! >>> shift;
    const code = shift + bits <= 32 ? low : low | (this.words[word + 1]! << (32 - shift));
    return code & ((1 << bits) - 1);
  }
}

/** Bytes as little-endian words, without a copy where they are aligned. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

/** Words as the bytes they are. */
export function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
