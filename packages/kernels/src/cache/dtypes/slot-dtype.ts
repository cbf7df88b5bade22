import type { Code, Local, ValueType } from '@kvlr/core/wasm';

/** The words of a cache on the host, seen as numbers and as words. */
export interface HostCache {
  words: Int32Array;
  floats: Float32Array;
}

/**
 * How a dtype stores the numbers of a slot, on the host, in WGSL and in WebAssembly. How many lie in a word, and whether a word of scale
 * and offset stands before them, says core's `slotWords`.
 */
export interface SlotDtype {
  /** Writes `width` numbers of `values` from `from` on as the slot that begins at word `at`. */
  encode(cache: HostCache, at: number, values: Float32Array, from: number, width: number): void;
  /** Reads the slot that begins at word `at` into `width` numbers of `values` from `to` on. */
  decode(cache: HostCache, at: number, values: Float32Array, to: number, width: number): void;
  wgsl: {
    /** Expression: the number that `code: u32` means; of codes with `header: vec2<f32>`, scale and offset. */
    read: string;
    /** Expression: the k-th numbers of `words: vec4<u32>`, a vec4; of codes of b bits with a header 1 + code / 2^b, without scale and offset. */
    four(k: number): string;
    /** Expression: the code of `value: f32`; of codes with `header`, the inverse of the scale, and the offset. */
    write: string;
  };
  /** Absent where words are numbers already. */
  wasm?: SlotUnpacking;
}

/** How vectors unpack a dtype. */
interface SlotUnpacking {
  /** Numbers that one step unpacks. */
  together: number;
  /**
   * Makes the code of one step, which reads from `word`, moves it on, and stores float32 numbers at `rows`, which the caller moves on;
   * and the code before a slot, which may read its header.
   */
  begin(word: Local, rows: Local, declare: (type: ValueType) => Local): { header: Code; step: Code };
}
