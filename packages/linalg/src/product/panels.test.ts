import { afterEach, describe, expect, it, vi } from 'vitest';
import { randomMatrix } from '../../test-support/matrices.ts';
import { multiplyPanels, panelWidth } from './panels.ts';
import { createSimdKernel } from './simd-kernel.ts';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

describe('products with and without WebAssembly', () => {
  it.each([1, 2, 255, 256])('agree to the last bit, panels %i deep', (depth) => {
    const kernel = createSimdKernel();
    if (kernel === undefined) throw new Error('Node has WebAssembly with vectors');
    const size = depth * panelWidth;
    const memory = new Float64Array(kernel.memory.buffer);
    memory.set(randomMatrix(2, size, depth).data, 16);
    const expected = new Float64Array(16);
    multiplyPanels(memory, 16, memory, 16 + size, depth, expected);
    kernel.multiply(16 * 8, (16 + size) * 8, (16 + size) * 8);
    expect(memory.slice(0, 16)).toEqual(expected);
  });

  it.each([
    ['is missing', undefined],
    [
      'is forbidden',
      {
        Module: class {
          constructor() {
            throw new Error('refused by the content security policy');
          }
        },
      },
    ],
  ])('agree to the last bit where it %s', async (_, replacement) => {
    // Large enough to make the memory grow, odd enough to leave panels half full.
    const a = randomMatrix(259, 301, 1);
    const b = randomMatrix(301, 41, 2);
    const vectorised = (await import('./multiply.ts')).multiply(a, b);
    vi.resetModules();
    vi.stubGlobal('WebAssembly', replacement);
    expect((await import('./multiply.ts')).multiply(a, b)).toEqual(vectorised);
  });
});
