/**
 * URLs of tfjs's wasm files, which the build copies beside this package's own. Bundlers find them by this form of `new URL`, and
 * browsers without a bundler do as well. In Node `prepareNodeRuntime` says where they lie. It is spelled out, because bundlers do
 * not follow variables; and the path is the same from here and from the built file.
 */
export const wasmFiles = () => ({
  'tfjs-backend-wasm.wasm': new URL('../dist/wasm/tfjs-backend-wasm.wasm', import.meta.url).href,
  'tfjs-backend-wasm-simd.wasm': new URL('../dist/wasm/tfjs-backend-wasm-simd.wasm', import.meta.url).href,
  'tfjs-backend-wasm-threaded-simd.wasm': new URL('../dist/wasm/tfjs-backend-wasm-threaded-simd.wasm', import.meta.url)
    .href,
});
