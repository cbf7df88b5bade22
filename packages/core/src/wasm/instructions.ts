/**
 * Instructions of WebAssembly as bytes, under the names of its specification (WebAssembly core specification 2.0, chapter 5).
 * They are written as in the folded text format, operands inside: (f32x4.add (local.get 0) (local.get 1)) is
 * f32x4.add(local.get(0), local.get(1)). Statements, which leave nothing on the stack, follow each other: [...first, ...second].
 */
export type Code = readonly number[];

/** Number of a parameter or local variable of a function. */
export type Local = number;

/** A type of values; the objects with the instructions of a type stand for it. */
export interface ValueType {
  readonly type: number;
}

/** Unsigned LEB128. */
export function unsigned(value: number): Code {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

/** Signed LEB128 of 32 bits. */
function signed(value: number): Code {
  const bytes: number[] = [];
  let rest = value | 0;
  // Bit 6 of the last byte is the sign of what is left out.
  while (rest < -64 || rest > 63) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>= 7;
  }
  return [...bytes, rest & 0x7f];
}

/** A byte offset that is added to an address; alignment is only a hint, and left out. */
const memoryArgument = (offset: number): Code => [0, ...unsigned(offset)];

// Marked, so that bundlers leave out the types whose instructions nobody uses.
const binary =
  /* @__NO_SIDE_EFFECTS__ */
    (opcode: number) =>
    (left: Code, right: Code): Code => [...left, ...right, opcode];
const vector = (opcode: number): Code => [0xfd, ...unsigned(opcode)];
const unaryVector =
  /* @__NO_SIDE_EFFECTS__ */
    (opcode: number) =>
    (value: Code): Code => [...value, ...vector(opcode)];
const binaryVector =
  /* @__NO_SIDE_EFFECTS__ */
    (opcode: number) =>
    (left: Code, right: Code): Code => [...left, ...right, ...vector(opcode)];
const shift =
  /* @__NO_SIDE_EFFECTS__ */
    (opcode: number) =>
    (value: Code, by: number): Code => [...value, ...i32.const(by), ...vector(opcode)];
const loadVector =
  /* @__NO_SIDE_EFFECTS__ */
    (opcode: number) =>
    (address: Code, offset = 0): Code => [...address, ...vector(opcode), ...memoryArgument(offset)];

export const local = {
  get: (index: Local): Code => [0x20, ...unsigned(index)],
  set: (index: Local, value: Code): Code => [...value, 0x21, ...unsigned(index)],
};

/** A block whose label, 0 within it, stands at its beginning: a branch to it repeats the block. */
export const loop = (body: Code): Code => [0x03, 0x40, ...body, 0x0b];
/** Branches to the label of the `label`-th block around, where the condition is not zero. */
export const br_if = (label: number, condition: Code): Code => [...condition, 0x0d, ...unsigned(label)];

export const i32 = {
  type: 0x7f,
  const: (value: number): Code => [0x41, ...signed(value)],
  lt_u: binary(0x49),
  add: binary(0x6a),
  sub: binary(0x6b),
};

export const f32 = {
  type: 0x7d,
  load: (address: Code, offset = 0): Code => [...address, 0x2a, ...memoryArgument(offset)],
  store: (address: Code, value: Code, offset = 0): Code => [...address, ...value, 0x38, ...memoryArgument(offset)],
  add: binary(0x92),
  mul: binary(0x94),
  div: binary(0x95),
  max: binary(0x97),
};

export const v128 = {
  type: 0x7b,
  load: loadVector(0x00),
  load8x8_s: loadVector(0x01),
  load8x8_u: loadVector(0x02),
  load16x4_s: loadVector(0x03),
  load16_splat: loadVector(0x08),
  load32_splat: loadVector(0x09),
  load64_splat: loadVector(0x0a),
  load32_zero: loadVector(0x5c),
  store: (address: Code, value: Code, offset = 0): Code => [
    ...address,
    ...value,
    ...vector(0x0b),
    ...memoryArgument(offset),
  ],
  /** Of four lanes of 32 bits (v128.const i32x4). */
  const: (...lanes: [number, number, number, number]): Code => [
    ...vector(0x0c),
    ...lanes.flatMap((bits) => [bits & 0xff, (bits >>> 8) & 0xff, (bits >>> 16) & 0xff, bits >>> 24]),
  ],
  and: binaryVector(0x4e),
  or: binaryVector(0x50),
};

export const i8x16 = {
  /** Each byte of the first operand becomes the one of `bytes` (0 to 15 of the first, 16 to 31 of the second operand). */
  shuffle: (first: Code, second: Code, bytes: readonly number[]): Code => [
    ...first,
    ...second,
    ...vector(0x0d),
    ...bytes,
  ],
  /** Bytes of a table by their places; 0 for places beyond 15. */
  swizzle: binaryVector(0x0e),
  ne: binaryVector(0x24),
  shl: shift(0x6b),
  shr_u: shift(0x6d),
  sub: binaryVector(0x71),
};

export const i16x8 = {
  narrow_i32x4_s: binaryVector(0x85),
  extend_low_i8x16_u: unaryVector(0x89),
  extend_high_i8x16_u: unaryVector(0x8a),
  shl: shift(0x8b),
  shr_u: shift(0x8d),
};

export const i32x4 = {
  splat: unaryVector(0x11),
  extend_low_i16x8_s: unaryVector(0xa7),
  extend_high_i16x8_s: unaryVector(0xa8),
  shl: shift(0xab),
  shr_s: shift(0xac),
  add: binaryVector(0xae),
  dot_i16x8_s: binaryVector(0xba),
  trunc_sat_f32x4_s: unaryVector(0xf8),
};

export const f32x4 = {
  splat: unaryVector(0x13),
  extract_lane: (value: Code, lane: number): Code => [...value, ...vector(0x1f), lane],
  nearest: unaryVector(0x6a),
  add: binaryVector(0xe4),
  sub: binaryVector(0xe5),
  mul: binaryVector(0xe6),
  max: binaryVector(0xe9),
  convert_i32x4_s: unaryVector(0xfa),
};

export const f64x2 = {
  add: binaryVector(0xf0),
  mul: binaryVector(0xf2),
};
