import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { softwareGpuSettings } from '../use-software-gpu.ts';

const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';

/** Why nothing can be tested in a browser here; undefined when it can. */
export const missingChromium = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; set CHROMIUM_PATH`;

const quiet = [
  '--headless',
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** WebGPU computed on the CPU: right results, slowly. */
const softwareWebGpu = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  ...softwareGpuSettings.map((setting) => `--${setting}`),
];

export function launchChromium({ webGpu }: { webGpu: boolean }): Promise<Browser> {
  return chromium.launch({ executablePath, args: [...quiet, ...(webGpu ? softwareWebGpu : [])] });
}
