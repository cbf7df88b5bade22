import { existsSync } from 'node:fs';
import { useSoftwareGpu } from '@kvlr/testkit';
import { expect, it, vi } from 'vitest';
import { prepareNodeRuntime } from './prepare-node-runtime.ts';

it('finds the wasm files, and says why WebGPU is missing where it is', async () => {
  const runtime = await prepareNodeRuntime();
  expect(existsSync(`${runtime.wasmPath}tfjs-backend-wasm-simd.wasm`)).toBe(true);
  expect(runtime.webgpuProblem === undefined).toBe(runtime.webgpu);
  expect(await prepareNodeRuntime()).toBe(runtime);
});

it('does not ask for a Vulkan driver that is not there, which the loader would complain of on stderr', async () => {
  vi.resetModules();
  vi.stubEnv('VK_DRIVER_FILES', '');
  vi.stubEnv('VK_ICD_FILENAMES', '/nowhere/driver.json');
  useSoftwareGpu();
  const { prepareNodeRuntime: prepareAnew } = await import('./prepare-node-runtime.ts');
  const { webgpu, webgpuProblem } = await prepareAnew();
  vi.unstubAllEnvs();
  // The test before may have put WebGPU on the global object, on a machine that has a GPU.
  if (!webgpu) expect(webgpuProblem).toMatch(/nowhere|no Vulkan loader/);
});
