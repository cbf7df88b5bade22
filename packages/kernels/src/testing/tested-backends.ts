import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import { softwareGpuSettings, useSoftwareGpu } from '@kvlr/testkit';
import { backend, enableProdMode, env, getBackend, setBackend } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

export type TestedBackend = 'cpu' | 'wasm' | 'webgpu';

/** Every backend, with the reason why it cannot be tested here, if it cannot. */
export async function testedBackends(): Promise<{ backend: TestedBackend; skip: string | false }[]> {
  setWasmPaths(dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm')) + sep);
  return [
    { backend: 'cpu', skip: false },
    { backend: 'wasm', skip: false },
    { backend: 'webgpu', skip: await webGpuProblem() },
  ];
}

/** Makes a backend the active one. Small tensors are computed on the GPU too, although tfjs would forward them to the CPU. */
export async function useBackend(name: TestedBackend): Promise<void> {
  enableProdMode();
  if (name === 'webgpu') env().set('WEBGPU_CPU_FORWARD', false);
  if (!(await setBackend(name))) throw new Error(`useBackend: the ${name} backend does not start`);
}

/** Runs a test's body; on WebGPU a validation error, which throws nowhere by itself, fails it. */
export async function withoutGpuErrors<Result>(run: () => Promise<Result>): Promise<Result> {
  if (getBackend() !== 'webgpu') return run();
  const gpu = backend() as WebGPUBackend;
  gpu.device.pushErrorScope('validation');
  const [result] = await Promise.allSettled([run()]);
  const error = await gpu.device.popErrorScope();
  // First of all: wrong values are its consequence.
  if (error) throw new Error(error.message);
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}

async function webGpuProblem(): Promise<string | false> {
  const noSoftwareGpu = useSoftwareGpu();
  const host = globalThis as { navigator?: { gpu?: GPU } };
  if (host.navigator?.gpu === undefined) {
    try {
      const { create, globals } = await import('webgpu');
      Object.assign(globalThis, globals);
      const gpu = withLeastMemory(create([...softwareGpuSettings]));
      Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    } catch (error) {
      return `the package webgpu does not load: ${error}`;
    }
  }
  // It registers itself only where navigator.gpu already stands.
  await import('@tensorflow/tfjs-backend-webgpu');
  const adapter = await host.navigator?.gpu?.requestAdapter();
  return adapter ? false : `no Vulkan adapter: neither a GPU nor a software one (${noSoftwareGpu})`;
}

/** Gives devices subgroups, and the workgroup memory that every GPU grants and no more: a shader that takes more is a validation error. */
function withLeastMemory(gpu: GPU): GPU {
  const requestAdapter = gpu.requestAdapter.bind(gpu);
  gpu.requestAdapter = async (options) => {
    const adapter = await requestAdapter(options);
    const requestDevice = adapter?.requestDevice.bind(adapter);
    if (adapter && requestDevice) {
      adapter.requestDevice = (descriptor) => {
        const requiredLimits = { ...descriptor?.requiredLimits, maxComputeWorkgroupStorageSize: 16384 };
        // A software adapter has subgroups of 4: enough for narrow slots, so that both variants of a shader are run.
        const subgroups = ['subgroups' as GPUFeatureName].filter((feature) => adapter.features.has(feature));
        const requiredFeatures = [...(descriptor?.requiredFeatures ?? []), ...subgroups];
        return requestDevice({ ...descriptor, requiredLimits, requiredFeatures });
      };
    }
    return adapter;
  };
  return gpu;
}
