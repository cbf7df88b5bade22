import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { prepareNodeRuntime } from './prepare-node-runtime.ts';

it('finds the wasm files, and says why WebGPU is missing where it is', async () => {
  const runtime = await prepareNodeRuntime();
  expect(existsSync(`${runtime.wasmPath}tfjs-backend-wasm-simd.wasm`)).toBe(true);
  expect(runtime.webgpuProblem === undefined).toBe(runtime.webgpu);
  expect(await prepareNodeRuntime()).toBe(runtime);
});
