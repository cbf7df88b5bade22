import { type EventListener, KvlrError } from '@kvlr/core';
import { enableProdMode, engine, env, findBackendFactory, ready, setBackend } from '@tensorflow/tfjs-core';
import { wasmFiles } from '../wasm-files.ts';
import { installWasmKernels } from '../wasm-kernels/install-wasm-kernels.ts';
import { registerGradients } from './gradients.ts';
import { hostNavigator } from './host-navigator.ts';
import { importWebGpu } from './webgpu-backend.ts';

export type BackendName = 'webgpu' | 'wasm' | 'cpu';

/** What `selectBackend` took, and why. */
export interface BackendChoice {
  backend: BackendName;
  /** One sentence for people. */
  reason: string;
  /** The GPU behind WebGPU, when one was looked at. */
  adapter?: WebGpuAdapter;
}

export interface WebGpuAdapter {
  name: string;
  /** True when the adapter computes on the CPU (SwiftShader, llvmpipe): correct, but slower than wasm. */
  software: boolean;
}

export interface BackendRequest {
  /** Default 'auto': WebGPU on a real GPU, else wasm, else cpu. */
  backend?: BackendName | 'auto';
  /**
   * URL of the folder with the .wasm files of @tensorflow/tfjs-backend-wasm, where they are served elsewhere. Default: those of this
   * package, which bundlers (Vite, webpack) carry along and Node finds by itself.
   */
  wasmPaths?: string;
  onEvent?: EventListener;
}

/**
 * Starts a tfjs backend, makes it the active one, and says which it took and why, in the result and as a 'note' event.
 * A named backend is taken or 'backend-unavailable' is thrown. 'auto' passes over a WebGPU adapter that computes on the
 * CPU, because wasm is faster there.
 */
export async function selectBackend(request: BackendRequest = {}): Promise<BackendChoice> {
  const choice =
    request.backend === undefined || request.backend === 'auto'
      ? await takeBest(request.wasmPaths)
      : await takeNamed(request.backend, request.wasmPaths);
  request.onEvent?.({ type: 'note', message: `Backend ${choice.backend}: ${choice.reason}`, data: { ...choice } });
  return choice;
}

async function takeNamed(backend: BackendName, wasmPaths: string | undefined): Promise<BackendChoice> {
  if (!['webgpu', 'wasm', 'cpu'].includes(backend)) {
    throw new KvlrError('invalid-argument', {
      message: `expected auto, webgpu, wasm or cpu, got ${String(backend)}.`,
      where: { argument: 'backend' },
      data: { backend },
    });
  }
  if (backend !== 'webgpu') {
    await startBackend(backend, wasmPaths);
    return { backend, reason: 'as asked' };
  }
  const adapter = await probeWebGpu();
  if (adapter === undefined) {
    throw new KvlrError('backend-unavailable', {
      message: 'expected a WebGPU adapter, but none answers here.',
      hint: 'Choose wasm or auto. In Node, install the optional package webgpu and call prepareNodeRuntime from @kvlr/runtime/node.',
      data: { backend },
    });
  }
  await startBackend('webgpu', wasmPaths);
  const kind = adapter.software ? ', a software adapter: results are right, times are not those of a GPU' : '';
  return { backend, reason: `as asked, on ${adapter.name}${kind}`, adapter };
}

async function takeBest(wasmPaths: string | undefined): Promise<BackendChoice> {
  const adapter = await probeWebGpu();
  const passedOver: string[] = [];
  if (adapter === undefined) {
    passedOver.push('no WebGPU adapter answers');
  } else if (adapter.software) {
    passedOver.push(`the WebGPU adapter ${adapter.name} computes on the CPU, more slowly than wasm`);
  } else {
    try {
      await startBackend('webgpu', wasmPaths);
      return { backend: 'webgpu', reason: `a GPU answers: ${adapter.name}`, adapter };
    } catch (error) {
      passedOver.push(`WebGPU on ${adapter.name} did not start (${messageOf(error)})`);
    }
  }
  try {
    await startBackend('wasm', wasmPaths);
    return { backend: 'wasm', reason: passedOver.join('; '), adapter };
  } catch (error) {
    passedOver.push(`wasm did not start (${messageOf(error)})`);
  }
  await startBackend('cpu', wasmPaths);
  return { backend: 'cpu', reason: passedOver.join('; '), adapter };
}

function messageOf(error: unknown): string {
  const cause = KvlrError.isInstance(error) ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message : String(cause);
}

/** Loads one tfjs backend and makes it the active one. Throws 'backend-unavailable' when it does not start. */
async function startBackend(name: BackendName, wasmPaths: string | undefined): Promise<void> {
  // Checks of every result for NaN and a banner in Node belong to tfjs's development mode.
  enableProdMode();
  registerGradients();
  let cause: unknown;
  try {
    if (name === 'wasm') await importWasm(wasmPaths);
    else if (name === 'webgpu') await importWebGpu();
    else await import('@tensorflow/tfjs-backend-cpu');
    if (findBackendFactory(name) && (await setBackend(name))) {
      await ready();
      return;
    }
  } catch (error) {
    cause = error;
  }
  throw new KvlrError('backend-unavailable', {
    message: `expected the ${name} backend to start, but it did not.`,
    hint:
      name === 'wasm'
        ? 'Where a page is built without its .wasm files, pass wasmPaths: the URL of the folder that serves those of @tensorflow/tfjs-backend-wasm.'
        : 'Choose another backend, or auto.',
    data: { backend: name },
    cause,
  });
}

async function importWasm(wasmPaths: string | undefined): Promise<void> {
  const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
  if (wasmPaths !== undefined) setWasmPaths(wasmPaths.endsWith('/') ? wasmPaths : `${wasmPaths}/`);
  // A backend that runs has its files; in Node prepareNodeRuntime has named them.
  else if (!('wasm' in engine().registry) && !isNode()) {
    setWasmPaths(wasmFiles());
    // tfjs starts its threads from the source text of a function, which minifiers leave incomplete: they would never answer.
    env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  }
  installWasmKernels();
}

const SOFTWARE_ADAPTERS = /swiftshader|llvmpipe|lavapipe|basic render|software/i;

/**
 * Asks for a WebGPU adapter without taking a device. Undefined when there is no WebGPU here or no adapter behind it. Has
 * to come first: tfjs registers its backend even where no adapter exists, and then fails without a word.
 */
export async function probeWebGpu(): Promise<WebGpuAdapter | undefined> {
  const gpu = hostNavigator()?.gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return undefined;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(' ') || 'unnamed adapter';
  const words = [vendor, architecture, device, description].join(' ');
  return { name, software: isFallbackAdapter === true || SOFTWARE_ADAPTERS.test(words) };
}

function isNode(): boolean {
  return (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node !== undefined;
}
