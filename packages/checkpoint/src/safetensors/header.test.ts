import { KvlrError } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseSafetensorsHeader, safetensorsHeaderLength, safetensorsLimits } from './header.ts';
import { encodeSafetensors } from './write.ts';

const parse = (header: unknown, dataBytes: number) => {
  const bytes = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  return parseSafetensorsHeader(bytes, 8 + bytes.length + dataBytes, 'x.safetensors');
};
const entry = (begin: number, end: number, shape: unknown = [(end - begin) / 4], dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});
const prefix = (length: bigint) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length, true);
  return bytes;
};

describe('safetensorsHeaderLength', () => {
  it('believes no length beyond the limit or the file', async () => {
    const limit = BigInt(safetensorsLimits.headerBytes);
    expectKvlrError(() => safetensorsHeaderLength(prefix(limit + 1n), 2 ** 40, 'x'), 'file-malformed', 'header');
    expectKvlrError(() => safetensorsHeaderLength(prefix(2n ** 63n), 2 ** 40, 'x'), 'file-malformed');
    expectKvlrError(() => safetensorsHeaderLength(prefix(0n), 100, 'x'), 'file-malformed');
    expectKvlrError(() => safetensorsHeaderLength(prefix(93n), 100, 'x'), 'file-truncated', /101.*100/);
    expectKvlrError(() => safetensorsHeaderLength(new Uint8Array(3), 3, 'x'), 'file-truncated');
    expect(safetensorsHeaderLength(prefix(92n), 100, 'x')).toBe(92);
  });
});

describe('parseSafetensorsHeader', () => {
  it('reads what encodeSafetensors wrote', () => {
    const tensors = [
      { name: 'b', dtype: 'F16' as const, shape: [2, 3], bytes: new Uint8Array(12).fill(1) },
      { name: 'a', dtype: 'I64' as const, shape: [], bytes: new Uint8Array(8).fill(2) },
      { name: 'empty', dtype: 'F32' as const, shape: [0, 4], bytes: new Uint8Array(0) },
    ];
    const file = encodeSafetensors(tensors, { format: 'pt' });
    const length = safetensorsHeaderLength(file.subarray(0, 8), file.length, 'x');
    expect(length % 8).toBe(0);
    const header = parseSafetensorsHeader(file.subarray(8, 8 + length), file.length, 'x');
    expect(header.metadata).toEqual({ format: 'pt' });
    for (const { name, dtype, shape, bytes } of tensors) {
      const found = header.tensors.find((tensor) => tensor.name === name)!;
      expect(found).toMatchObject({ dtype, shape, byteLength: bytes.length });
      expect(file.subarray(found.start, found.end)).toEqual(bytes);
    }
  });

  it('reads and writes a tensor of any name', async () => {
    const bytes = encodeSafetensors([{ name: '__proto__', dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }]);
    const length = safetensorsHeaderLength(bytes.subarray(0, 8), bytes.length, 'x');
    const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, 'x');
    expect(tensors).toMatchObject([{ name: '__proto__', shape: [1], byteLength: 4 }]);
  });

  it('knows every type of the format', () => {
    const types = { F8_E8M0: 4, F8_E4M3FNUZ: 4, C64: 32, F4: 2, F6_E2M3: 3 };
    for (const [dtype, bytes] of Object.entries(types)) {
      expect(parse({ a: entry(0, bytes, [4], dtype) }, bytes).tensors[0]).toMatchObject({ dtype, byteLength: bytes });
    }
  });

  it.each([
    ['no JSON', '{"a": ', 0],
    ['one name twice', `{"a": ${JSON.stringify(entry(0, 4))}, "a": ${JSON.stringify(entry(4, 8))}}`, 8],
    ['lists without end', `{"a": ${'['.repeat(6000)}`, 0],
    ['an object in place of a dtype', { a: entry(0, 4, [1], { toString: 1 }) }, 4],
    ['no object', '[]', 0],
    ['an entry that is no object', { a: 3 }, 0],
    ['an unknown dtype', { a: entry(0, 4, [1], 'F12') }, 4],
    ['a dtype from the prototype', { a: entry(0, 4, [1], 'toString') }, 4],
    ['a negative size', { a: entry(0, 4, [-1]) }, 4],
    ['a fractional size', { a: entry(0, 4, [0.5, 2]) }, 4],
    ['too many dimensions', { a: entry(0, 4, Array(safetensorsLimits.dimensions + 1).fill(1)) }, 4],
    ['a size that overflows', { a: entry(0, 4, [2 ** 40, 2 ** 40]) }, 4],
    ['offsets that are missing', { a: { dtype: 'F32', shape: [1] } }, 4],
    ['offsets in reverse', { a: entry(4, 0, [1]) }, 4],
    ['bytes that do not fit type and shape', { a: entry(0, 8, [1]) }, 8],
    ['an overlap', { a: entry(0, 8), b: entry(4, 12) }, 12],
    ['the same range twice', { a: entry(0, 8), b: entry(0, 8) }, 8],
    ['a gap', { a: entry(0, 8), b: entry(12, 16) }, 16],
    ['bytes after the last tensor', { a: entry(0, 8) }, 9],
    ['metadata that is no text', { __metadata__: { a: 1 } }, 0],
  ])('refuses %s', async (_, header, dataBytes) => {
    expectKvlrError(() => parse(header, dataBytes), 'file-malformed', 'x.safetensors');
  });

  it('refuses more tensors than the limit', async () => {
    const names = Array.from({ length: safetensorsLimits.tensorCount + 1 }, (_, i) => [`t${i}`, 0]);
    expectKvlrError(() => parse(Object.fromEntries(names), 0), 'file-malformed', String(safetensorsLimits.tensorCount));
  });

  it('refuses tensors beyond the end of the file', async () => {
    expectKvlrError(() => parse({ a: entry(0, 8) }, 7), 'file-truncated', 'x.safetensors');
    expectKvlrError(() => parse({ a: entry(2 ** 50, 2 ** 50 + 8) }, 8), 'file-malformed');
  });

  it('answers any JSON with a header or a KvlrError', () => {
    const tensorLike = fc.record(
      { dtype: fc.constantFrom('F32', 'U8', 3), shape: fc.anything(), data_offsets: fc.anything() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.dictionary(fc.string(), tensorLike).map((d) => JSON.stringify(d)),
        ),
        (json) => {
          try {
            expect(parse(json ?? 'null', 16).tensors).toBeInstanceOf(Array);
          } catch (error) {
            expect(KvlrError.isInstance(error)).toBe(true);
          }
        },
      ),
    );
  });
});
