import { describe, expect, it } from 'vitest';
import { ByteWriter } from './format.ts';

describe('ByteWriter', () => {
  it('keeps every number while the buffer grows', () => {
    const writer = new ByteWriter();
    const count = 50_000;
    for (let i = 0; i < count; i++) {
      writer.int32(-i);
      writer.float32(i);
      writer.bytes(Uint8Array.of(i));
    }
    const bytes = writer.finish(32);
    expect(bytes.length).toBe(Math.ceil((9 * count) / 32) * 32);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let i = 0; i < count; i++) {
      const read = [view.getInt32(9 * i, true), view.getFloat32(9 * i + 4, true), bytes[9 * i + 8]];
      if (read[0] !== -i || read[1] !== i || read[2] !== i % 256) expect(read).toEqual([-i, i, i % 256]);
    }
  });
});
