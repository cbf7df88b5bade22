export {
  br_if,
  type Code,
  f32,
  f32x4,
  f64x2,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  local,
  loop,
  type ValueType,
  v128,
} from './wasm/instructions.ts';
export { assembleModule, instantiateModule, type WasmFunction, type WasmModule, wasmFunction } from './wasm/module.ts';
