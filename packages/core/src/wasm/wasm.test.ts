import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { br_if, type Code, f32, f32x4, f64x2, i8x16, i16x8, i32, i32x4, local, loop, v128 } from './instructions.ts';
import { assembleModule, instantiateModule, type WasmFunction, wasmFunction } from './module.ts';

interface Instance {
  memory: { buffer: ArrayBuffer };
  run(...numbers: number[]): number;
}

/** The instance of a module that is one function and memory of its own. */
function instanceOf(run: WasmFunction): Instance {
  return instantiateModule<Instance>(assembleModule({ functions: [run], memory: 'exported' }))!;
}

const returning = (run: WasmFunction, ...results: WasmFunction['results']): WasmFunction => ({ ...run, results });

it('assembles functions that compute', () => {
  const sum = wasmFunction('run', [f32, f32], ([a, b]) => f32.add(local.get(a), local.get(b)));
  expect(instanceOf(returning(sum, f32)).run(1.5, 2.25)).toBe(3.75);
});

it('assembles loops over local variables', () => {
  const triangle = wasmFunction('run', [i32], ([last], declare) => {
    const [count, total] = [declare(i32), declare(i32)];
    return [
      ...loop([
        ...local.set(total, i32.add(local.get(total), local.get(count))),
        ...local.set(count, i32.add(local.get(count), i32.const(1))),
        ...br_if(0, i32.lt_u(local.get(count), local.get(last))),
      ]),
      ...i32.sub(local.get(total), i32.const(0)),
    ];
  });
  expect(instanceOf(returning(triangle, i32)).run(101)).toBe(5050);
});

it('encodes whole numbers of 32 bits', () => {
  fc.assert(
    fc.property(fc.oneof(fc.integer(), fc.constantFrom(63, 64, -64, -65, 2 ** 31 - 1, -(2 ** 31))), (value) => {
      expect(
        instanceOf(
          returning(
            wasmFunction('run', [], () => i32.const(value)),
            i32,
          ),
        ).run(),
      ).toBe(value);
    }),
  );
});

/** What an expression of vectors makes of the 16 bytes at 0 and at 16, and of the number at 32. */
function resultOf(expression: Code, left: ArrayBufferView, right: ArrayBufferView): ArrayBuffer {
  const { memory, run } = instanceOf(wasmFunction('run', [], () => v128.store(i32.const(32), expression, 16)));
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(new Uint8Array(left.buffer), 0);
  bytes.set(new Uint8Array(right.buffer), 16);
  run();
  return memory.buffer.slice(48, 64);
}

const a = v128.load(i32.const(0));
const b = v128.load(i32.const(8), 8);
const bytes = Uint8Array.from({ length: 16 }, (_, place) => 37 * place + 100);
const words = new Uint32Array(bytes.buffer);
const integers = new Int32Array(bytes.buffer);
const shorts = new Int16Array(bytes.buffer);
const signedBytes = new Int8Array(bytes.buffer);

describe('vectors', () => {
  const x = Float32Array.of(1.5, -2.25, 1e6, 2.5);
  const y = Float32Array.of(3.25, -7.5, -1e-3, 2.6);
  it.each<[string, Code, (left: number, right: number) => number]>([
    ['add', f32x4.add(a, b), (l, r) => l + r],
    ['sub', f32x4.sub(a, b), (l, r) => l - r],
    ['mul', f32x4.mul(a, b), (l, r) => l * r],
    ['max', f32x4.max(a, b), Math.max],
    ['nearest, ties to even', f32x4.nearest(a), (l) => 2 * Math.round(l / 2)],
  ])('of floats: %s', (_, code, expected) => {
    const result = Array.from(new Float32Array(resultOf(code, x, y)));
    expect(result).toEqual(Array.from(x, (left, lane) => Math.fround(expected(left, y[lane]!))));
  });

  it('of doubles', () => {
    const [left, right] = [Float64Array.of(1.1, 2.2), Float64Array.of(-3.3, 1e-9)];
    expect(new Float64Array(resultOf(f64x2.add(a, b), left, right))).toEqual(Float64Array.of(1.1 - 3.3, 2.2 + 1e-9));
    expect(new Float64Array(resultOf(f64x2.mul(a, b), left, right))).toEqual(Float64Array.of(1.1 * -3.3, 2.2 * 1e-9));
    const twice = v128.load64_splat(i32.const(8));
    expect(new Float64Array(resultOf(twice, left, right))).toEqual(Float64Array.of(2.2, 2.2));
  });

  it.each<[string, Code, number[]]>([
    ['and', v128.and(a, v128.const(0xff, 0xff00, -1, 0)), [words[0]! & 0xff, words[1]! & 0xff00, integers[2]!, 0]],
    ['or', v128.or(a, v128.const(1, 0, 0, -1)), [integers[0]! | 1, integers[1]!, integers[2]!, -1]],
    ['splat', i32x4.splat(i32.const(-7)), [-7, -7, -7, -7]],
    ['shl', i32x4.shl(a, 5), Array.from(integers, (value) => value << 5)],
    ['shr_s', i32x4.shr_s(a, 3), Array.from(integers, (value) => value >> 3)],
    ['add', i32x4.add(a, a), Array.from(integers, (value) => (value + value) | 0)],
    ['extend_low_i16x8_s', i32x4.extend_low_i16x8_s(a), Array.from(shorts.subarray(0, 4))],
    ['extend_high_i16x8_s', i32x4.extend_high_i16x8_s(a), Array.from(shorts.subarray(4))],
    [
      'dot_i16x8_s',
      i32x4.dot_i16x8_s(a, a),
      [0, 1, 2, 3].map((lane) => shorts[2 * lane]! ** 2 + shorts[2 * lane + 1]! ** 2),
    ],
    [
      'trunc_sat_f32x4_s',
      i32x4.trunc_sat_f32x4_s(f32x4.convert_i32x4_s(i32x4.shr_s(a, 16))),
      Array.from(integers, (value) => value >> 16),
    ],
    ['load32_splat', v128.load32_splat(i32.const(4)), Array(4).fill(integers[1])],
    ['load32_zero', v128.load32_zero(i32.const(0), 8), [integers[2]!, 0, 0, 0]],
    ['load16x4_s', v128.load16x4_s(i32.const(8)), Array.from(shorts.subarray(4))],
  ])('of integers: %s', (_, code, expected) => {
    expect(Array.from(new Int32Array(resultOf(code, bytes, bytes)))).toEqual(expected);
  });

  it.each<[string, Code, number[]]>([
    ['extend_low_i8x16_u', i16x8.extend_low_i8x16_u(a), Array.from(bytes.subarray(0, 8))],
    ['extend_high_i8x16_u', i16x8.extend_high_i8x16_u(a), Array.from(bytes.subarray(8))],
    ['shl', i16x8.shl(a, 4), Array.from(shorts, (value) => (value << 20) >> 16)],
    ['shr_u', i16x8.shr_u(a, 4), Array.from(shorts, (value) => (value & 0xffff) >> 4)],
    ['load8x8_s', v128.load8x8_s(i32.const(0)), Array.from(signedBytes.subarray(0, 8))],
    ['load8x8_u', v128.load8x8_u(i32.const(0), 8), Array.from(bytes.subarray(8))],
    ['load16_splat', v128.load16_splat(i32.const(2)), Array(8).fill(shorts[1])],
  ])('of 16-bit integers: %s', (_, code, expected) => {
    expect(Array.from(new Int16Array(resultOf(code, bytes, bytes)))).toEqual(expected);
  });

  it.each<[string, Code, number[]]>([
    ['shr_u', i8x16.shr_u(a, 4), Array.from(bytes, (value) => value >> 4)],
    ['shl', i8x16.shl(a, 4), Array.from(bytes, (value) => (value << 4) & 0xff)],
    [
      'sub',
      i8x16.sub(a, v128.const(0x10101010, 0x10101010, 0x10101010, 0x10101010)),
      Array.from(bytes, (value) => (value - 16) & 0xff),
    ],
    [
      'ne',
      i8x16.ne(a, v128.const(words[0]!, 0, words[2]!, 0)),
      [0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255],
    ],
    [
      'swizzle',
      i8x16.swizzle(a, v128.const(0x03020100, 0x0f0e0d0c, 0x10010101, -1)),
      [0, 1, 2, 3, 12, 13, 14, 15, 1, 1, 1, 16, 16, 16, 16, 16].map((place) => bytes[place] ?? 0),
    ],
    [
      'shuffle',
      i8x16.shuffle(a, i8x16.shr_u(a, 1), [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23]),
      Array.from({ length: 16 }, (_, place) => bytes[place >> 1]! >> (place & 1)),
    ],
  ])('of bytes: %s', (_, code, expected) => {
    expect(Array.from(new Uint8Array(resultOf(code, bytes, bytes)))).toEqual(expected);
  });

  it('of 32-bit integers become ones of 16 bits, the nearest there are', () => {
    const [left, right] = [Int32Array.of(1, -2, 40_000, -40_000), Int32Array.of(7, 32_767, -32_768, 0)];
    const narrowed = Array.from(new Int16Array(resultOf(i16x8.narrow_i32x4_s(a, b), left, right)));
    expect(narrowed).toEqual([1, -2, 32_767, -32_768, 7, 32_767, -32_768, 0]);
  });

  it.each<[string, Code, number]>([
    ['mul', f32.mul(f32.load(i32.const(4)), f32.load(i32.const(16), 8)), -2.25 * Math.fround(-1e-3)],
    ['div', f32.div(f32.load(i32.const(0)), f32.load(i32.const(4))), 1.5 / -2.25],
    ['max', f32.max(f32.load(i32.const(4)), f32.load(i32.const(0))), 1.5],
  ])('of one float everywhere: %s', (_, code, expected) => {
    const result = new Float32Array(resultOf(f32x4.splat(code), x, y));
    expect(Array.from(result)).toEqual(Array(4).fill(Math.fround(expected)));
  });

  it('give lanes to memory', () => {
    const store = wasmFunction('run', [], () => f32.store(i32.const(4), f32x4.extract_lane(b, 2), 60));
    const { memory, run } = instanceOf(store);
    new Float32Array(memory.buffer)[6] = 2.5;
    run();
    expect(new Float32Array(memory.buffer)[16]).toBe(2.5);
  });
});

it.each([
  ['imported', false],
  ['shared', true],
] as const)('works on memory of others: %s', (memory, shared) => {
  const { Memory } = (
    globalThis as unknown as { WebAssembly: { Memory: new (settings: object) => Instance['memory'] } }
  ).WebAssembly;
  const others = new Memory({ initial: 1, maximum: 65536, shared });
  const store = wasmFunction('run', [i32], ([address]) => v128.store(local.get(address), v128.const(1, 2, 3, 4), 16));
  const module = assembleModule({ functions: [store], memory });
  instantiateModule<Instance>(module, { env: { memory: others } })!.run(32);
  expect(Array.from(new Int32Array(others.buffer, 48, 4))).toEqual([1, 2, 3, 4]);
});

it('gives nothing for a module that the engine refuses', () => {
  const unbalanced = wasmFunction('run', [], () => i32.const(1));
  expect(instantiateModule(assembleModule({ functions: [unbalanced] }))).toBeUndefined();
});
