import { existsSync } from 'node:fs';
import type { BackendName } from '../backends/backend-choice.ts';
import { probeWebGpu } from '../backends/probe-webgpu.ts';
import { prepareNodeRuntime } from '../node/prepare-node-runtime.ts';

const CHROMIUM = '/usr/lib/chromium';
/** Keeps a library loaded after dlopen's caller has closed it (RTLD_NOW | RTLD_NODELETE). */
const STAY_LOADED = 0x1002;

/** For tests: every backend, with the reason why it cannot be tested here, if it cannot. */
export async function testedBackends(): Promise<{ backend: BackendName; skip: string | false }[]> {
  useChromiumsSwiftShader();
  const { webgpuProblem } = await prepareNodeRuntime();
  const adapter = await probeWebGpu();
  const reason = webgpuProblem ?? `no Vulkan adapter: neither a GPU nor ${CHROMIUM}/vk_swiftshader_icd.json`;
  return [
    { backend: 'cpu', skip: false },
    { backend: 'wasm', skip: false },
    { backend: 'webgpu', skip: adapter === undefined && reason },
  ];
}

/** Debian's chromium ships a software GPU and a Vulkan loader; Dawn finds the loader when it is already in memory. */
function useChromiumsSwiftShader(): void {
  if (!existsSync(`${CHROMIUM}/vk_swiftshader_icd.json`)) return;
  process.env.VK_ICD_FILENAMES ??= `${CHROMIUM}/vk_swiftshader_icd.json`;
  process.env.XDG_RUNTIME_DIR ??= '/tmp';
  try {
    process.dlopen({ exports: {} }, `${CHROMIUM}/libvulkan.so.1`, STAY_LOADED);
  } catch {
    // It is no Node add-on, and Node says so after having loaded it.
  }
}
