import type { WebGpuAdapter } from './backend-choice.ts';
import { hostNavigator } from './host-navigator.ts';

const SOFTWARE_ADAPTERS = /swiftshader|llvmpipe|lavapipe|basic render|software/i;

/**
 * Asks for a WebGPU adapter without taking a device. Undefined when there is no WebGPU here or no adapter behind it. Has
 * to come first: tfjs registers its backend even where no adapter exists, and then fails without a word.
 */
export async function probeWebGpu(): Promise<WebGpuAdapter | undefined> {
  const gpu = hostNavigator()?.gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return undefined;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(' ') || 'unnamed adapter';
  const words = [vendor, architecture, device, description].join(' ');
  return { name, software: isFallbackAdapter === true || SOFTWARE_ADAPTERS.test(words) };
}
