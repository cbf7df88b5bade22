import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, sep } from 'node:path';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { hostNavigator } from '../backends/host-navigator.ts';

export interface NodeRuntime {
  /** Folder of the wasm files. */
  wasmPath: string;
  /** True when navigator.gpu stands, through the package `webgpu` or through the host itself. */
  webgpu: boolean;
  /** Why navigator.gpu does not stand. */
  webgpuProblem?: string;
}

/**
 * Setting of Dawn that shows shader-f16 on NVIDIA over Vulkan, where Dawn hides it because some conformance tests fail. kvlr's kernels do
 * not need it: they read halves with unpack2x16float, and add in float32.
 */
export const dawnF16OnNvidia = 'enable-dawn-features=vulkan_enable_f16_on_nvidia';

/** Setting of Dawn that leaves timestamps as the device gives them; without it they are whole multiples of 65,536 ns. */
export const dawnExactTimestamps = 'disable-dawn-features=timestamp_quantization';

export interface NodeRuntimeSettings {
  /**
   * Settings of Dawn, as its `create` takes them. 'backend=null' is a device that computes nothing, to time the host; see
   * `dawnF16OnNvidia`. Default: none.
   */
  dawn?: readonly string[];
}

let prepared: Promise<NodeRuntime> | undefined;

/**
 * Makes Node ready for `selectBackend` and `loadModel`: tells tfjs where its wasm files lie and, where the optional
 * package `webgpu` (Dawn) is installed, puts WebGPU on the global object as a browser has it. Repeated calls do nothing:
 * the first one's settings hold.
 * To test without a GPU, point VK_ICD_FILENAMES at SwiftShader's ICD file before the first call.
 */
export function prepareNodeRuntime(settings: NodeRuntimeSettings = {}): Promise<NodeRuntime> {
  prepared ??= prepare(settings);
  return prepared;
}

async function prepare({ dawn = [] }: NodeRuntimeSettings): Promise<NodeRuntime> {
  const require = createRequire(import.meta.url);
  const wasmPath = dirname(require.resolve('@tensorflow/tfjs-backend-wasm')) + sep;
  setWasmPaths(wasmPath);
  const navigator = hostNavigator();
  if (navigator?.gpu) return { wasmPath, webgpu: true };
  const webgpuProblem = dawn.includes('backend=null') ? undefined : whyNoVulkan();
  if (webgpuProblem !== undefined) return { wasmPath, webgpu: false, webgpuProblem };
  // Drivers complain on stderr where it is missing, as in containers.
  if (process.platform === 'linux') process.env.XDG_RUNTIME_DIR ??= tmpdir();
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    const gpu = create([...dawn]);
    // Node 21 and later have a read-only navigator; older versions have none.
    if (navigator) Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true });
    else Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    return { wasmPath, webgpu: true };
  } catch (error) {
    return { wasmPath, webgpu: false, webgpuProblem: problemOf(error) };
  }
}

function problemOf(error: unknown): string {
  const { code, message = String(error) } = error as { code?: string; message?: string };
  return code === 'ERR_MODULE_NOT_FOUND' ? 'the package webgpu is not installed (npm install webgpu)' : message;
}

/** Dawn, Vulkan's loader and its drivers warn on stderr where there is no GPU: better to look for one before asking. */
function whyNoVulkan(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  if (!hasVulkanLoader()) return 'no Vulkan loader (libvulkan.so.1) is installed';
  // Whoever names a driver wants it, such as one that computes on the processor.
  const named = process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES;
  if (named) {
    const isThere = named.split(delimiter).some((file) => existsSync(file));
    return isThere
      ? undefined
      : `there is no such Vulkan driver as VK_DRIVER_FILES or VK_ICD_FILENAMES names: ${named}`;
  }
  return hasGpuDevice() ? undefined : 'no GPU that may be used is in /dev (and VK_ICD_FILENAMES names no driver)';
}

/** Whether a device file of a GPU is there, and may be opened by this user. */
function hasGpuDevice(): boolean {
  return ['/dev', '/dev/dri'].some((directory) => {
    const names = existsSync(directory) ? readdirSync(directory) : [];
    const devices = names.filter((name) => /^(renderD\d+|nvidia\d+|nvhost-gpu|dxg|kgsl-3d0|mali0)$/.test(name));
    return devices.some((name) => mayOpen(join(directory, name)));
  });
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function hasVulkanLoader(): boolean {
  try {
    process.dlopen({ exports: {} }, 'libvulkan.so.1');
  } catch (error) {
    // A loader that is there is refused all the same, for not being a Node add-on.
    return !(error instanceof Error && error.message.includes('cannot open shared object file'));
  }
  return true;
}
