import { expect, it } from 'vitest';
import { hadamard } from '../numbers/hadamard.ts';
import goldens from '../testing/ggml-blocks.json' with { type: 'json' };
import { ggmlCodecs, rotationSize } from './ggml-blocks.ts';

/** Made by scripts/oracles/cache-blocks.py with ggml itself. */
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
const floatsOf = (text: string) => new Float32Array(bytesOf(text).buffer);
const names = Object.keys(ggmlCodecs) as (keyof typeof ggmlCodecs)[];
const rows = floatsOf(goldens.values);
const tokens = 4;
const request = { layer: 0, side: 'keys' as const, slots: rows.length / tokens / 32, width: 32 };

it.each(names)('%s: the bytes and the numbers of ggml, bit for bit', (name) => {
  const { keys } = ggmlCodecs[name];
  const codec = keys.create(request);
  const bytes = codec.encode(rows, tokens);
  const golden = goldens.types[name];
  expect(bytes).toEqual(bytesOf(golden.bytes));
  expect(codec.decode(bytes, tokens)).toEqual(floatsOf(golden.values));
  expect(bytes.length).toBe(keys.byteLength(request, tokens));
});

it('heads whose blocks would reach into the next head are refused in words', () => {
  expect(ggmlCodecs.q4_0.keys.refuse?.({ slots: 4, width: 24 })).toBe('heads whose width is a multiple of 32');
});

it.each([
  ['keys', 128, 128],
  ['values', 128, 64],
  ['keys', 192, 64],
  ['values', 96, 1],
  ['keys', 32, 1],
] as const)('%s of heads of %i numbers are turned in %is', (side, width, size) => {
  expect(rotationSize(side, width)).toBe(size);
});

it('wide heads are the blocks of their rotated numbers, and are read rotated back', () => {
  const turn = (numbers: Float32Array) => {
    const turned = Float64Array.from(numbers);
    for (let at = 0; at < turned.length; at += 64) hadamard(turned, at, 64);
    return Float32Array.from(turned);
  };
  const wide = { layer: 0, side: 'values' as const, slots: rows.length / tokens / 128, width: 128 };
  const codec = ggmlCodecs.q4_0.values.create(wide);
  const plain = ggmlCodecs.q4_0.values.create(request);
  const bytes = codec.encode(rows, tokens);
  expect(bytes).toEqual(plain.encode(turn(rows), tokens));
  expect(codec.decode(bytes, tokens)).toEqual(turn(plain.decode(bytes, tokens)));
});
