/**
 * The upper half of each float32: its whole exponent and eight significant bits, two numbers in four bytes.
 *
 *     kvlr compare --bytes f16 ./bfloat.mjs
 */
const format = {
  // Each token is coded by itself, and keys as attention reads them.
  blockTokens: 1,
  keys: 'rotated',
  byteLength: ({ slots, width }, tokens) => 2 * tokens * slots * width,
  create: () => ({
    encode(rows) {
      const halves = new Uint16Array(rows.length);
      const words = new Uint32Array(Float32Array.from(rows).buffer);
      // Rounded to nearest: half of the last bit that stays is added before the rest is cut off.
      words.forEach((word, i) => {
        halves[i] = (word + 0x8000) >>> 16;
      });
      return new Uint8Array(halves.buffer);
    },
    decode(bytes) {
      const halves = new Uint16Array(bytes.slice().buffer);
      return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
    },
  }),
};

export default { title: 'bfloat16', keys: format, values: format };
