import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { assembleModule, type WasmFunction } from './assemble-module.ts';

interface WebAssemblyApi {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
}

/** What Emscripten's module has besides its types: the exports, or in the threaded build the memory itself. */
interface EmscriptenModule {
  asm?: { memory?: { buffer: ArrayBufferLike } };
  wasmMemory?: { buffer: ArrayBufferLike };
}

/**
 * Functions that work on the heap of tfjs's wasm backend: tensors are passed as addresses. Undefined where the engine has no
 * vectors or the page forbids making modules.
 */
export function instantiateOnHeap<Exports>(backend: BackendWasm, functions: WasmFunction[]): Exports | undefined {
  const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };
  const emscripten = backend.wasm as unknown as EmscriptenModule;
  const memory = emscripten.wasmMemory ?? emscripten.asm?.memory;
  if (memory === undefined) return undefined;
  const isShared = typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  try {
    const module = new WebAssembly.Module(assembleModule(functions, isShared));
    return new WebAssembly.Instance(module, { env: { memory } }).exports as Exports;
  } catch {
    return undefined;
  }
}
