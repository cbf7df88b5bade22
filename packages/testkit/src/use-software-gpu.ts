import { existsSync } from 'node:fs';

const chromium = '/usr/lib/chromium';
/** Keeps a library loaded after dlopen's caller has closed it (RTLD_NOW | RTLD_NODELETE). */
const stayLoaded = 0x1002;

/**
 * Lets Dawn find the software GPU (SwiftShader) that Debian's chromium ships, where it is installed; call it before WebGPU is
 * first asked for. Its Vulkan loader lies in no directory that is searched, but Dawn takes one that is already in memory.
 * Returns the reason why there is none, or undefined.
 */
export function useSoftwareGpu(): string | undefined {
  if (!existsSync(`${chromium}/vk_swiftshader_icd.json`)) return `no ${chromium}/vk_swiftshader_icd.json`;
  process.env.VK_ICD_FILENAMES ??= `${chromium}/vk_swiftshader_icd.json`;
  process.env.XDG_RUNTIME_DIR ??= '/tmp';
  try {
    process.dlopen({ exports: {} }, `${chromium}/libvulkan.so.1`, stayLoaded);
  } catch {
    // It is no Node add-on, and Node says so after having loaded it.
  }
  return undefined;
}
