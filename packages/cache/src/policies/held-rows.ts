import { type ExactTokens, halfTable, type SideCodec, type SideFormat, toHalf } from '@kvlr/core';

/**
 * The rows of one side of one slot under a policy: first exact tokens as halves, then codes, then newer tokens as halves. Tokens are coded one
 * by one, and only when `settle` is called.
 */
export class HeldRows {
  private first = new Uint16Array(0);
  private codes = new Uint8Array(0);
  private newest = new Uint16Array(0);

  constructor(
    private readonly codec: SideCodec,
    private readonly width: number,
    /** Bytes of one token in one slot. */
    private readonly tokenBytes: number,
  ) {}

  get byteLength(): number {
    return this.first.byteLength + this.codes.byteLength + this.newest.byteLength;
  }

  /** Adds rows [tokens, width] behind the others. */
  append(rows: Float32Array): void {
    const newest = new Uint16Array(this.newest.length + rows.length);
    newest.set(this.newest);
    rows.forEach((x, i) => {
      newest[this.newest.length + i] = toHalf(x);
    });
    this.newest = newest;
  }

  /** All rows as they can be had back, [tokens, width]. */
  read(): Float32Array {
    const coded = this.codes.length / this.tokenBytes;
    const rows = new Float32Array(this.first.length + coded * this.width + this.newest.length);
    const halves = halfTable();
    this.first.forEach((half, i) => {
      rows[i] = halves[half]!;
    });
    if (coded > 0) rows.set(this.codec.decode(this.codes, coded), this.first.length);
    const at = this.first.length + coded * this.width;
    this.newest.forEach((half, i) => {
      rows[at + i] = halves[half]!;
    });
    return rows;
  }

  /** Rows of these places, [places, width]. */
  readAt(places: Int32Array): Float32Array {
    const { width, tokenBytes } = this;
    const halves = halfTable();
    const first = this.first.length / width;
    const coded = this.codes.length / tokenBytes;
    const rows = new Float32Array(places.length * width);
    places.forEach((place, i) => {
      if (place >= first && place < first + coded) {
        const at = (place - first) * tokenBytes;
        rows.set(this.codec.decode(this.codes.subarray(at, at + tokenBytes), 1), i * width);
        return;
      }
      const [from, row] = place < first ? [this.first, place] : [this.newest, place - first - coded];
      for (let c = 0; c < width; c++) rows[i * width + c] = halves[from[row * width + c]!]!;
    });
    return rows;
  }

  /**
   * Lets the tokens at these places stay, ascending, and codes all of them but the exact ones. Codes that stay are not coded again.
   *
   * @param replaced Rows of the tokens that stay where they are others from now on, [places, width].
   */
  settle(places: Int32Array, exact: ExactTokens, replaced?: Float32Array): void {
    const { width, tokenBytes } = this;
    const rows = this.read();
    const codedFrom = this.first.length / width;
    const codedTo = codedFrom + this.codes.length / tokenBytes;
    const staying = new Float32Array(places.length * width);
    const changed = places.map((place, i) => {
      const row = rows.subarray(place * width, (place + 1) * width);
      const becomes = replaced?.subarray(i * width, (i + 1) * width) ?? row;
      staying.set(becomes, i * width);
      return Number(becomes.some((x, c) => x !== row[c]));
    });
    const from = Math.min(exact.first, places.length);
    const to = Math.max(from, places.length - exact.window);
    const codes = new Uint8Array((to - from) * tokenBytes);
    for (let i = from; i < to; i++) {
      const place = places[i]!;
      const kept = place >= codedFrom && place < codedTo && changed[i] === 0;
      const at = (place - codedFrom) * tokenBytes;
      const code = kept
        ? this.codes.subarray(at, at + tokenBytes)
        : this.codec.encode(staying.slice(i * width, (i + 1) * width), 1);
      codes.set(code, (i - from) * tokenBytes);
    }
    this.first = Uint16Array.from(staying.subarray(0, from * width), toHalf);
    this.codes = codes;
    this.newest = Uint16Array.from(staying.subarray(to * width), toHalf);
  }

  copyFrom({ first, codes, newest }: HeldRows): void {
    this.first = first.slice();
    this.codes = codes.slice();
    this.newest = newest.slice();
  }
}

/** Rows of one slot, empty. */
export function heldRows(
  format: SideFormat,
  request: { layer: number; side: 'keys' | 'values'; width: number },
): HeldRows {
  const slot = { slots: 1, width: request.width };
  return new HeldRows(
    format.create({ ...slot, layer: request.layer, side: request.side }),
    request.width,
    format.byteLength(slot, 1),
  );
}
