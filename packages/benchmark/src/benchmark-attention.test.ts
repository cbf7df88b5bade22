import { cacheEntryWords, stockLayout } from '@kvlr/core';
import type { AttentionRow } from '@kvlr/report';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { softwareGpuSettings, useSoftwareGpu } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { benchmarkAttention } from './benchmark-attention.ts';

const softwareGpuProblem = useSoftwareGpu();
const { webgpuProblem = softwareGpuProblem } = await prepareNodeRuntime({ dawn: softwareGpuSettings });

it.each(['cpu', 'wasm'] as const)('times every dtype, context and number of heads on %s', async (backend) => {
  const dtypes = ['f32', 'f16', 'int8'] as const;
  const report = await benchmarkAttention({
    ...{ numAttentionHeads: 4, headDim: 8, keyValueHeads: [4, 2, 1], contexts: [8, 70], rounds: 3 },
    ...{ dtypes, turnMilliseconds: 0.1, copyBytes: 4096, backend },
  });
  expect(report.rows).toHaveLength(3 * 2 * 3);
  for (const { keyValueHeads, dtype, context, bytesRead, call, speedup, bytesPerSecond } of report.rows) {
    expect(bytesRead).toBe(4 * context * cacheEntryWords(stockLayout(keyValueHeads, 8), dtype));
    expect(bytesPerSecond).toBeCloseTo((1000 * bytesRead) / call.p50, 6);
    expect(call.samples).toBe(3);
    expect(speedup?.rounds).toBe(keyValueHeads === 4 ? undefined : 3);
  }
  expect(report.copyBytesPerSecond).toBeGreaterThan(0);
  expect(memory().numTensors).toBe(0);
});

it.skipIf(webgpuProblem)('tells the time on the main thread from that on the device, on WebGPU', async () => {
  const report = await benchmarkAttention({
    ...{ numAttentionHeads: 2, headDim: 8, keyValueHeads: [1], contexts: [8], rounds: 1, dtypes: ['f32'] },
    ...{ turnMilliseconds: 0.1, copyBytes: 4096, backend: 'webgpu' },
  });
  const [{ split, bytesRead, bytesPerSecond }] = report.rows as [AttentionRow];
  expect(split!.host).toBeGreaterThan(0);
  expect(bytesPerSecond).toBeCloseTo((1000 * bytesRead) / split!.device!, 6);
});
