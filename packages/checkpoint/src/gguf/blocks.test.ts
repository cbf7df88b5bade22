import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import goldens from '../testing/gguf-blocks.json' with { type: 'json' };
import { decodeGguf, encodeGgufFloats, type GgufDtype, ggufByteLength, ggufType, ggufTypeOfCode } from './blocks.ts';

/** Made by scripts/oracles/gguf-blocks.py. */
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
const floatsOf = (text: string) => new Float32Array(bytesOf(text).buffer);

describe('decodeGguf', () => {
  it.each(Object.entries(goldens.decoded))('gives the numbers of the package gguf, bit for bit: %s', (name, golden) => {
    const type = ggufType(name as GgufDtype);
    const bytes = bytesOf(golden.bytes);
    const values = decodeGguf(type, bytes);
    expect(values).toEqual(floatsOf(golden.values));
    expect(ggufByteLength(type, values.length)).toBe(bytes.length);
  });

  it('refuses a type that it does not read, naming it and what to do', () => {
    const error = expectKvlrError(() => decodeGguf(ggufTypeOfCode(10)!, new Uint8Array(84)), 'unsupported-feature');
    expect(error.message).toMatch(/Q8_0.*got Q2_K/);
    expect(error.hint).toMatch(/llama-quantize/);
  });
});

describe('encodeGgufFloats', () => {
  it.each(Object.entries(goldens.encoded))('gives the bytes of llama.cpp: %s', (name, golden) => {
    expect(encodeGgufFloats(name as GgufDtype, floatsOf(golden.values))).toEqual(bytesOf(golden.bytes));
  });

  it.each([
    ['F32', 0],
    ['F16', 2 ** -11],
    ['BF16', 2 ** -8],
    ['Q8_0', 1 / 250],
    ['Q4_0', 1 / 8],
  ] as const)('keeps numbers to within its own steps: %s', (dtype, step) => {
    const values = Float32Array.from({ length: 320 }, (_, i) => Math.sin(i ** 2) * 2 ** ((i >> 5) - 5));
    const read = decodeGguf(ggufType(dtype), encodeGgufFloats(dtype, values));
    const largestOfBlock = (i: number) =>
      values.subarray(i & ~31, (i & ~31) + 32).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const errors = Array.from(values, (value, i) => Math.abs(value - read[i]!) / largestOfBlock(i));
    expect(Math.max(...errors)).toBeLessThanOrEqual(step);
  });

  it('names the tensor that does not fit', () => {
    expectKvlrError(() => encodeGgufFloats('Q8_0', new Float32Array(32).fill(1e8), 'blk.0'), 'numerical', /blk\.0/);
  });
});
