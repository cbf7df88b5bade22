/**
 * One bit a number: its sign, times the mean magnitude of the token's slot, which is kept beside the bits. Too coarse for keys, and a
 * floor that a codec for values should beat.
 *
 *     kvlr compare --bytes q8_0 q8_0:./signs.mjs
 */
const bytesOfSlot = (width) => 4 + Math.ceil(width / 8);

const format = {
  blockTokens: 1,
  keys: 'rotated',
  byteLength: ({ slots, width }, tokens) => tokens * slots * bytesOfSlot(width),
  create: ({ slots, width }) => ({
    encode(rows, tokens) {
      const bytes = new Uint8Array(tokens * slots * bytesOfSlot(width));
      const view = new DataView(bytes.buffer);
      for (let slot = 0; slot < tokens * slots; slot++) {
        const numbers = rows.subarray(slot * width, (slot + 1) * width);
        const at = slot * bytesOfSlot(width);
        view.setFloat32(at, numbers.reduce((sum, x) => sum + Math.abs(x), 0) / width);
        numbers.forEach((x, i) => {
          if (x < 0) bytes[at + 4 + (i >> 3)] |= 1 << (i & 7);
        });
      }
      return bytes;
    },
    decode(bytes, tokens) {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      return Float32Array.from({ length: tokens * slots * width }, (_, i) => {
        const at = Math.floor(i / width) * bytesOfSlot(width);
        const c = i % width;
        return (bytes[at + 4 + (c >> 3)] >> (c & 7)) & 1 ? -view.getFloat32(at) : view.getFloat32(at);
      });
    },
  }),
};

export default { title: 'signs and a mean magnitude', keys: format, values: format };
