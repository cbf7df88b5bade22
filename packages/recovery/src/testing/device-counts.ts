import { backend } from '@tensorflow/tfjs-core';
import { vi } from 'vitest';

/**
 * Counts from now on what the WebGPU device is asked for: bind groups, buffers, writes, submissions. `vi.restoreAllMocks` ends it.
 * `note` is to be called behind every step.
 */
export function countDevice(): { note(): void; perStep(): number[][] } {
  const { device, queue } = backend() as unknown as { device: GPUDevice; queue: GPUQueue };
  const spies = [
    vi.spyOn(device, 'createBindGroup'),
    vi.spyOn(device, 'createBuffer'),
    vi.spyOn(queue, 'writeBuffer'),
    vi.spyOn(queue, 'submit'),
  ];
  const seen: number[][] = [];
  return {
    note: () => seen.push(spies.map(({ mock }) => mock.calls.length)),
    /** From the second step on, when all is set up. */
    perStep: () => seen.slice(2).map((counts, index) => counts.map((count, kind) => count - seen[index + 1]![kind]!)),
  };
}
