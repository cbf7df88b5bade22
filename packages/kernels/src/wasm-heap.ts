import {
  assembleModule,
  br_if,
  type Code,
  f32,
  f32x4,
  i32,
  instantiateModule,
  type Local,
  local,
  loop,
  v128,
  type WasmFunction,
} from '@kvlr/core/wasm';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';

/** Functions of a module: tensors are passed as addresses, floats as the bits of a whole number. */
export type HeapFunctions<Name extends string> = Record<Name, (...numbers: number[]) => void>;

/** What Emscripten's module has besides its types: the exports, or in the threaded build the memory itself. */
interface EmscriptenModule {
  asm?: { memory?: { buffer: ArrayBufferLike } };
  wasmMemory?: { buffer: ArrayBufferLike };
}

/**
 * Functions that work on the heap of tfjs's wasm backend. What is returned gives those of a backend, assembled at the first call;
 * undefined where the engine has no vectors or the page forbids making modules.
 */
export function functionsOnHeap<Name extends string>(
  functions: () => WasmFunction[],
): (backend: BackendWasm) => HeapFunctions<Name> | undefined {
  const known = new WeakMap<BackendWasm, { exports: HeapFunctions<Name> | undefined }>();
  return (backend) => {
    let entry = known.get(backend);
    if (entry === undefined) {
      entry = { exports: instantiateOnHeap(backend, functions()) };
      known.set(backend, entry);
    }
    return entry.exports;
  };
}

function instantiateOnHeap<Exports>(backend: BackendWasm, functions: WasmFunction[]): Exports | undefined {
  const emscripten = backend.wasm as unknown as EmscriptenModule;
  const memory = emscripten.wasmMemory ?? emscripten.asm?.memory;
  if (memory === undefined) return undefined;
  const isShared = typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  const bytes = assembleModule({ functions, memory: isShared ? 'shared' : 'imported' });
  return instantiateModule<Exports>(bytes, { env: { memory } });
}

/** Repeats the body, which runs at least once, as long as the number of rounds that it counts down is above zero. */
export const countdown = (rounds: Local, body: Code): Code =>
  loop([...body, ...local.set(rounds, i32.sub(local.get(rounds), i32.const(1))), ...br_if(0, local.get(rounds))]);

/** Adds a number to a local i32: moves a pointer. */
export const advance = (pointer: Local, by: Code | number): Code =>
  local.set(pointer, i32.add(local.get(pointer), typeof by === 'number' ? i32.const(by) : by));

/** Four times the same 32 bits. */
export const bitsInLanes = (bits: number): Code => v128.const(bits, bits, bits, bits);

const single = new Float32Array(1);
const singleBits = new Int32Array(single.buffer);

/** The bits of a number in single precision. */
export function bitsOfFloat(value: number): number {
  single[0] = value;
  return singleBits[0]!;
}

/** sum += left * right, of floats. */
export const addProduct = (sum: Local, left: Code, right: Code): Code =>
  local.set(sum, f32x4.add(local.get(sum), f32x4.mul(left, right)));

/** The sum of the four floats of a vector, as one float. */
export const sumOfLanes = (vector: Local): Code => {
  const lane = (index: number) => f32x4.extract_lane(local.get(vector), index);
  return f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3)));
};

/** 2^112: what a half's bits, moved to a float32's place, lack in exponent. It makes subnormal halves right as well. */
const halfFactor = 0x77800000;

/**
 * Floats from finite halves whose bits stand, sign-extended, 13 places up in a vector of integers. The sign then stands in the four
 * highest bits; the mask leaves one of them.
 */
export function halfToFloat(bits: Code): Code {
  return f32x4.mul(v128.and(bits, bitsInLanes(0x8fffe000)), bitsInLanes(halfFactor));
}
