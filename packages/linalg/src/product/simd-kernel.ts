/**
 * The inner loop of panels.ts once more, as a WebAssembly module with two numbers per instruction; it is assembled here,
 * some 300 bytes. It multiplies and adds in the same order, so that results agree to the last bit with or without it.
 * Instructions: WebAssembly core specification 2.0, chapter 5.
 */
export interface SimdKernel {
  memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  /** Stores the 4x4 block of the panels at byte `left`, which ends before byte `leftEnd`, and `right` at byte 0. */
  multiply(left: number, right: number, leftEnd: number): void;
}

interface WebAssemblyApi {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { exports: object };
}

/** The kernel, or undefined where WebAssembly or its vectors are missing or forbidden by the page. */
export function createSimdKernel(): SimdKernel | undefined {
  const { WebAssembly } = globalThis as { WebAssembly?: WebAssemblyApi };
  if (WebAssembly === undefined) return undefined;
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(assembleModule())).exports as SimdKernel;
  } catch {
    return undefined;
  }
}

const voidType = 0x40;
const i32 = 0x7f;
const v128 = 0x7b;

/** Parameters of the function, then its local variables. */
const left = 0;
const right = 1;
const leftEnd = 2;
const sum = (row: number, pair: number) => 3 + 2 * row + pair;
const rightPair = (pair: number) => 11 + pair;
const leftEntry = 13;
const vectorCount = 11;

const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const constant = (value: number) => [0x41, value];
const add = [0x6a];
const lessThan = [0x49];
const branchIf = (depth: number) => [0x0d, depth];
const loop = (body: number[]) => [0x03, voidType, ...body, 0x0b];
const alignment = 3;
const load = (offset: number) => [0xfd, 0x00, alignment, offset];
const loadTwice = (offset: number) => [0xfd, 0x0a, alignment, offset];
const store = (offset: number) => [0xfd, 0x0b, alignment, offset];
const addVectors = [0xfd, 0xf0, 0x01];
const multiplyVectors = [0xfd, 0xf2, 0x01];

const rows = [0, 1, 2, 3];
const pairs = [0, 1];

function assembleModule(): Uint8Array {
  const step = [
    ...pairs.flatMap((pair) => [...get(right), ...load(16 * pair), ...set(rightPair(pair))]),
    ...rows.flatMap((row) => [
      ...[...get(left), ...loadTwice(8 * row), ...set(leftEntry)],
      ...pairs.flatMap((pair) => [
        ...[...get(sum(row, pair)), ...get(leftEntry), ...get(rightPair(pair))],
        ...[...multiplyVectors, ...addVectors, ...set(sum(row, pair))],
      ]),
    ]),
    ...[...get(right), ...constant(32), ...add, ...set(right)],
    ...[...get(left), ...constant(32), ...add, ...set(left)],
    ...[...get(left), ...get(leftEnd), ...lessThan, ...branchIf(0)],
  ];
  const stores = rows.flatMap((row) =>
    pairs.flatMap((pair) => [...constant(0), ...get(sum(row, pair)), ...store(32 * row + 16 * pair)]),
  );
  const body = [1, vectorCount, v128, ...loop(step), ...stores, 0x0b];
  const functionType = [0x60, 3, i32, i32, i32, 0];
  const onePage = [0, 1];
  return Uint8Array.of(
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, ...functionType]),
    ...section(3, [1, 0]),
    ...section(5, [1, ...onePage]),
    ...section(7, [2, ...named('memory'), 2, 0, ...named('multiply'), 0, 0]),
    ...section(10, [1, ...length(body.length), ...body]),
  );
}

function section(id: number, content: number[]): number[] {
  return [id, ...length(content.length), ...content];
}

function named(name: string): number[] {
  return [name.length, ...Array.from(name, (letter) => letter.charCodeAt(0))];
}

/** LEB128 of a number below 2^14, always in two bytes. */
function length(value: number): number[] {
  return [(value & 0x7f) | 0x80, value >> 7];
}
