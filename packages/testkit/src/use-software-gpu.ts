import { existsSync } from 'node:fs';

const chromium = '/usr/lib/chromium';
/**
 * Settings of Dawn for tests on a software GPU. Workgroup memory is not zeroed before a shader runs, which takes SwiftShader most of
 * its time (four to eight times as much in a decoder's step); a kernel that reads what it has not written then shows it.
 */
export const softwareGpuSettings = ['enable-dawn-features=disable_workgroup_init'] as const;

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
