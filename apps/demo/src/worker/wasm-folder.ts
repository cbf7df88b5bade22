import '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import plainUrl from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';

/** URL of the folder with the three .wasm files of tfjs, which takes the one that the browser can run. */
export function wasmFolder(): string {
  return new URL('.', new URL(plainUrl, self.location.href)).href;
}
