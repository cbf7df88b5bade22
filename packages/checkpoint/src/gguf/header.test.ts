import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteWriter, encodeGgufHeader, type GgufValue } from './format.ts';
import { ggufLimits, parseGgufHeader } from './header.ts';

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

const metadata = new Map<string, GgufValue>([
  ['general.architecture', { type: 'string', value: 'llama' }],
  ['a', { type: 'uint32', value: 7 }],
  ['b', { type: 'float32', value: 0.5 }],
  ['c', { type: 'bool', value: true }],
  ['d', { type: 'array', of: 'string', value: ['é', ''] }],
  ['e', { type: 'array', of: 'int32', value: [-1, 2] }],
]);
const tensors = [
  { name: 'm', dtype: 'Q8_0' as const, shape: [2, 32] },
  { name: 'v', dtype: 'F32' as const, shape: [3] },
];
const header = encodeGgufHeader(metadata, tensors);
/** 68 bytes of the matrix, padded to 96, and 12 of the vector. */
const fileSize = header.length + 96 + 12;

/** The same header with other bytes from a place on. */
function changed(place: number, ...bytes: number[]): Uint8Array {
  const copy = header.slice();
  copy.set(bytes, place);
  return copy;
}

const find = (text: string) => Buffer.from(header).indexOf(text);

describe('parseGgufHeader', () => {
  it('reads what was written', () => {
    const read = parseGgufHeader(header, fileSize, 'x.gguf')!;
    expect(Object.fromEntries(read.metadata)).toEqual({
      ...{ 'general.architecture': 'llama', a: 7, b: 0.5, c: true, d: ['é', ''], e: [-1, 2] },
    });
    expect(read.tensors.map(({ type, ...tensor }) => ({ ...tensor, type: type.name }))).toEqual([
      { name: 'm', type: 'Q8_0', shape: [2, 32], start: header.length, byteLength: 68 },
      { name: 'v', type: 'F32', shape: [3], start: header.length + 96, byteLength: 12 },
    ]);
  });

  it('asks for more where a part of the file ends early', () => {
    for (const length of [0, 4, 23, 60, header.length - 40]) {
      expect(parseGgufHeader(header.subarray(0, length), fileSize, 'x.gguf')).toBeUndefined();
    }
  });

  it.each([
    ['another magic', changed(0, 71, 71, 77, 76), 'file-malformed', /begins with GGUF.*GGML/],
    ['version 1', changed(4, 1), 'unsupported-feature', /version 2 or 3, got 1/],
    ['big-endian numbers', changed(4, 0, 0, 0, 3), 'unsupported-feature', /little-endian/],
    ['too many tensors', changed(8, 0, 0, 0, 1), 'file-malformed', /at most 100000 tensors/],
    ['too many metadata entries', changed(16, 0, 0, 1), 'file-malformed', /at most 10000 metadata/],
    ['a size beyond what a double holds', changed(16, ...Array(8).fill(255)), 'file-malformed', /a size/],
    ['an unknown type of value', changed(find('general.architecture') + 20, 99), 'file-malformed', /type 99/],
    ['a list longer than all may be', changed(find('d') + 9, 255, 255, 255, 255), 'file-malformed', /of all lists/],
    ['a key twice', changed(find('b'), 97), 'file-malformed', /each key once/],
    ['too many axes', changed(header.lastIndexOf(109) + 1, 5), 'file-malformed', /at most 4 axes/],
  ] as const)('refuses %s', (_, bytes, code, message) => {
    expectKvlrError(() => parseGgufHeader(bytes, fileSize, 'x.gguf'), code, message);
  });

  it.each([
    ['lie beyond the end', tensors, 200, 'file-truncated', /expected \d+ bytes, got 200/],
    [
      'have rows that are no whole blocks',
      [{ ...tensors[0]!, shape: [2, 33] }],
      1e6,
      'file-malformed',
      /whole blocks of 32 for m/,
    ],
    ['have no numbers', [{ ...tensors[0]!, shape: [0, 32] }], 1e6, 'file-malformed', /whole blocks/],
    ['have one name', [tensors[1]!, tensors[1]!], 1e6, 'file-malformed', /each tensor once/],
    ['have a long name', [{ ...tensors[1]!, name: 'n'.repeat(65) }], 1e6, 'file-malformed', /at most 64 bytes/],
  ] as const)('refuses tensors that %s', (_, table, size, code, message) => {
    const bytes = encodeGgufHeader(
      new Map(),
      table.map((tensor) => ({ ...tensor, shape: [...tensor.shape] })),
    );
    expectKvlrError(() => parseGgufHeader(bytes, size, 'x.gguf'), code, message);
  });

  it('refuses tensors that overlap', () => {
    // The offset of the second tensor, 96, becomes 64, where the first still lies.
    const bytes = changed(header.lastIndexOf(96), 64);
    expectKvlrError(() => parseGgufHeader(bytes, fileSize, 'x.gguf'), 'file-malformed', /do not overlap/);
  });

  it('gives a typed error or a header for any bytes', () => {
    const damage = fc.array(fc.tuple(fc.nat(header.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(damage, fc.nat(fileSize), (changes, size) => {
        const bytes = header.slice();
        for (const [place, byte] of changes) bytes[place] = byte;
        try {
          parseGgufHeader(bytes.subarray(0, size), fileSize, 'x.gguf');
        } catch (error) {
          expect(error).toMatchObject({ name: 'KvlrError', where: { file: 'x.gguf' } });
        }
      }),
      { numRuns: 500 },
    );
  });

  it('has limits that the largest vocabularies stay within', () => {
    expect(ggufLimits.listEntries).toBeGreaterThan(6 * 262_144);
  });
});
