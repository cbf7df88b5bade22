/**
 * Instructions of WebAssembly with 128-bit vectors, as bytes; an expression is what leaves one value on the stack.
 * Source: WebAssembly core specification 2.0, chapter 5.
 */
export type Code = number[];

export const i32 = 0x7f;
export const v128 = 0x7b;
const voidType = 0x40;

/** Unsigned LEB128. */
export function unsigned(value: number): Code {
  const bytes: Code = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

const vector = (opcode: number, ...operands: Code[]) => [...operands.flat(), 0xfd, ...unsigned(opcode)];
const memoryOperand = (offset: number) => [0, ...unsigned(offset)];

export const get = (local: number): Code => [0x20, ...unsigned(local)];
export const set = (local: number, value: Code): Code => [...value, 0x21, ...unsigned(local)];

/** A constant i32 from 0 to 2^28, in signed LEB128. */
export const integer = (value: number): Code => {
  const bytes = unsigned(value);
  // Bit 6 of the last byte is the sign.
  if (bytes[bytes.length - 1]! < 0x40) return [0x41, ...bytes];
  bytes[bytes.length - 1]! |= 0x80;
  return [0x41, ...bytes, 0];
};
export const add = (left: Code, right: Code): Code => [...left, ...right, 0x6a];
const subtract = (left: Code, right: Code): Code => [...left, ...right, 0x6b];
export const advance = (local: number, by: Code): Code => set(local, add(get(local), by));

/** Repeats the body, which runs at least once, as long as the number of rounds that it counts down is above zero. */
export const countdown = (rounds: number, body: Code): Code => [
  ...[0x03, voidType, ...body],
  ...set(rounds, subtract(get(rounds), integer(1))),
  ...[...get(rounds), 0x0d, 0, 0x0b],
];

/** Vectors from memory, whole or widened from half their size, or one number in every place. */
export const load = (address: Code, offset: number): Code => [...vector(0x00, address), ...memoryOperand(offset)];
export const loadBytesAsWords = (address: Code, offset: number): Code => [
  ...vector(0x01, address),
  ...memoryOperand(offset),
];
/** Eight bytes without sign. */
export const loadUnsignedBytesAsWords = (address: Code, offset: number): Code => [
  ...vector(0x02, address),
  ...memoryOperand(offset),
];
export const loadWordsAsIntegers = (address: Code, offset: number): Code => [
  ...vector(0x03, address),
  ...memoryOperand(offset),
];
export const loadWordSplat = (address: Code, offset: number): Code => [
  ...vector(0x08, address),
  ...memoryOperand(offset),
];
export const loadIntegerSplat = (address: Code, offset: number): Code => [
  ...vector(0x09, address),
  ...memoryOperand(offset),
];
/** One number in the first place, zeros in the others. */
export const loadInteger = (address: Code, offset: number): Code => [
  ...vector(0x5c, address),
  ...memoryOperand(offset),
];
export const store = (address: Code, offset: number, value: Code): Code => [
  ...vector(0x0b, address, value),
  ...memoryOperand(offset),
];
export const storeFloat = (address: Code, offset: number, value: Code): Code => [
  ...address,
  ...value,
  0x38,
  ...memoryOperand(offset),
];

/** One integer, or the bits of one float, in every place. */
export const splat = (value: Code): Code => vector(0x11, value);

/** A vector of four equal 32-bit patterns. */
export const constant = (bits: number): Code => {
  const bytes = Array.from(new Uint8Array(Uint32Array.of(bits, bits, bits, bits).buffer));
  return [...vector(0x0c), ...bytes];
};
export const and = (left: Code, right: Code): Code => vector(0x4e, left, right);
export const or = (left: Code, right: Code): Code => vector(0x50, left, right);
export const shiftIntegersLeft = (value: Code, by: number): Code => vector(0xab, value, integer(by));
/** Copies of the sign move in. */
export const shiftIntegersRight = (value: Code, by: number): Code => vector(0xac, value, integer(by));
export const shiftWordsLeft = (value: Code, by: number): Code => vector(0x8b, value, integer(by));
export const shiftWordsRight = (value: Code, by: number): Code => vector(0x8d, value, integer(by));
export const lowBytesAsWords = (value: Code): Code => vector(0x89, value);
export const highBytesAsWords = (value: Code): Code => vector(0x8a, value);
export const lowWordsAsIntegers = (value: Code): Code => vector(0xa7, value);
export const highWordsAsIntegers = (value: Code): Code => vector(0xa8, value);
/** Towards zero. */
export const toIntegers = (value: Code): Code => vector(0xf8, value);
export const nearest = (value: Code): Code => vector(0x6a, value);
export const toFloats = (value: Code): Code => vector(0xfa, value);
/** The sums of neighbouring products of 16-bit numbers. */
export const dotWords = (left: Code, right: Code): Code => vector(0xba, left, right);
export const addIntegers = (left: Code, right: Code): Code => vector(0xae, left, right);
export const addFloats = (left: Code, right: Code): Code => vector(0xe4, left, right);
export const subtractFloats = (left: Code, right: Code): Code => vector(0xe5, left, right);
export const greaterFloats = (left: Code, right: Code): Code => vector(0xe9, left, right);
export const multiplyFloats = (left: Code, right: Code): Code => vector(0xe6, left, right);

/** The sum of the four numbers of a vector local, as one float. */
export const sumOfLanes = (local: number): Code => {
  const lane = (index: number) => [...get(local), 0xfd, 0x1f, index];
  const addScalars = (left: Code, right: Code) => [...left, ...right, 0x92];
  return addScalars(addScalars(lane(0), lane(1)), addScalars(lane(2), lane(3)));
};
