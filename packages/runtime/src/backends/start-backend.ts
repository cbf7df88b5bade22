import { KvlrError } from '@kvlr/core';
import { enableProdMode, findBackendFactory, ready, setBackend } from '@tensorflow/tfjs-core';
import { registerGradients } from '../gradients/register-gradients.ts';
import { installWasmKernels } from '../wasm-kernels/install-wasm-kernels.ts';
import type { BackendName } from './backend-choice.ts';

/** Loads one tfjs backend and makes it the active one. Throws 'backend-unavailable' when it does not start. */
export async function startBackend(name: BackendName, wasmPaths: string | undefined): Promise<void> {
  // Checks of every result for NaN and a banner in Node belong to tfjs's development mode.
  enableProdMode();
  registerGradients();
  let cause: unknown;
  try {
    if (name === 'wasm') await importWasm(wasmPaths);
    else if (name === 'webgpu') await import('@tensorflow/tfjs-backend-webgpu');
    else await import('@tensorflow/tfjs-backend-cpu');
    if (findBackendFactory(name) && (await setBackend(name))) {
      await ready();
      return;
    }
  } catch (error) {
    cause = error;
  }
  throw new KvlrError('backend-unavailable', {
    message: `startBackend: expected the ${name} backend to start, but it did not.`,
    hint:
      name === 'wasm'
        ? 'In a browser, pass wasmPaths: the URL of the folder that serves the .wasm files of @tensorflow/tfjs-backend-wasm.'
        : 'Choose another backend, or auto.',
    data: { backend: name },
    cause,
  });
}

async function importWasm(wasmPaths: string | undefined): Promise<void> {
  const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
  if (wasmPaths !== undefined) setWasmPaths(wasmPaths.endsWith('/') ? wasmPaths : `${wasmPaths}/`);
  installWasmKernels();
}
