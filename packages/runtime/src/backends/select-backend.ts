import { type EventListener, KvlrError } from '@kvlr/core';
import type { BackendChoice, BackendName } from './backend-choice.ts';
import { probeWebGpu } from './probe-webgpu.ts';
import { startBackend } from './start-backend.ts';

export interface BackendRequest {
  /** Default 'auto': WebGPU on a real GPU, else wasm, else cpu. */
  backend?: BackendName | 'auto';
  /** URL of the folder with the .wasm files of @tensorflow/tfjs-backend-wasm. Needed in browsers, not in Node. */
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
      message: `selectBackend: expected auto, webgpu, wasm or cpu, got ${String(backend)}.`,
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
      message: 'selectBackend: expected a WebGPU adapter, but none answers here.',
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
