import { chromium } from 'playwright-core';
import { servePage } from './serve-page.mjs';

/** A headless Chromium with the page of decoders. `softwareGpu` lets it compute WebGPU on the CPU (SwiftShader). */
export async function openChromium({ folders, executablePath, softwareGpu }) {
  const served = await servePage(folders);
  const gpu = softwareGpu ? ['--use-webgpu-adapter=swiftshader'] : [];
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-features=Vulkan', ...gpu],
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(served.url);
  await page.waitForFunction(() => 'openDecoder' in globalThis);
  return {
    version: browser.version(),
    hasGpu: () => page.evaluate(() => globalThis.hasGpu()),
    async openDecoder(name, settings) {
      await page.evaluate(([key, values]) => globalThis.openDecoder(key, values), [name, settings]);
      return { decode: () => page.evaluate((key) => globalThis.decode(key), name), close: async () => {} };
    },
    async close() {
      await browser.close();
      served.close();
    },
  };
}
