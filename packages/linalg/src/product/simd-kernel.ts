import {
  assembleModule,
  br_if,
  f64x2,
  i32,
  instantiateModule,
  type Local,
  local,
  loop,
  v128,
  type WasmFunction,
  wasmFunction,
} from '@kvlr/core/wasm';

/**
 * The inner loop of panels.ts once more, as a WebAssembly function with two numbers per instruction. It multiplies and adds in
 * the same order, so that results agree to the last bit with or without it.
 */
export interface SimdKernel {
  memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  /** Stores the 4x4 block of the panels at byte `left`, which ends before byte `leftEnd`, and `right` at byte 0. */
  multiply(left: number, right: number, leftEnd: number): void;
}

/** The kernel, or undefined where WebAssembly or its vectors are missing or forbidden by the page. */
export function createSimdKernel(): SimdKernel | undefined {
  return instantiateModule<SimdKernel>(assembleModule({ functions: [multiplyFunction()], memory: 'exported' }));
}

const rows = [0, 1, 2, 3];
const pairs = [0, 1];

function multiplyFunction(): WasmFunction {
  return wasmFunction('multiply', [i32, i32, i32], ([left, right, leftEnd], declare) => {
    const sums = rows.map(() => pairs.map(() => declare(v128)));
    const rightPairs = pairs.map(() => declare(v128));
    const leftEntry = declare(v128);
    const sumOf = (row: number, pair: number): Local => sums[row]![pair]!;
    const step = [
      ...rightPairs.flatMap((rightPair, pair) => local.set(rightPair, v128.load(local.get(right), 16 * pair))),
      ...rows.flatMap((row) => [
        ...local.set(leftEntry, v128.load64_splat(local.get(left), 8 * row)),
        ...rightPairs.flatMap((rightPair, pair) => {
          const product = f64x2.mul(local.get(leftEntry), local.get(rightPair));
          return local.set(sumOf(row, pair), f64x2.add(local.get(sumOf(row, pair)), product));
        }),
      ]),
      ...local.set(right, i32.add(local.get(right), i32.const(32))),
      ...local.set(left, i32.add(local.get(left), i32.const(32))),
      ...br_if(0, i32.lt_u(local.get(left), local.get(leftEnd))),
    ];
    const stores = rows.flatMap((row) =>
      pairs.flatMap((pair) => v128.store(i32.const(0), local.get(sumOf(row, pair)), 32 * row + 16 * pair)),
    );
    return [...loop(step), ...stores];
  });
}
