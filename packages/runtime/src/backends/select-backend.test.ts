import type { KvlrEvent } from '@kvlr/core';
import { getBackend } from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { selectBackend } from './select-backend.ts';

/** Puts an adapter, or none, behind navigator.gpu. */
function hostWith(adapter: Partial<GPUAdapterInfo> | null): void {
  vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => adapter && { info: adapter } } });
}

describe('selectBackend', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('takes wasm where no adapter answers, and says so', async () => {
    hostWith(null);
    const events: KvlrEvent[] = [];
    const choice = await selectBackend({ onEvent: (event) => events.push(event) });
    expect(choice).toEqual({ backend: 'wasm', reason: 'no WebGPU adapter answers', adapter: undefined });
    expect(getBackend()).toBe('wasm');
    expect(events).toMatchObject([{ type: 'note', message: 'Backend wasm: no WebGPU adapter answers' }]);
  });

  it('passes over an adapter that computes on the CPU', async () => {
    hostWith({ vendor: 'google', architecture: 'swiftshader', device: '', description: 'SwiftShader driver 5.0.0' });
    const choice = await selectBackend({ backend: 'auto' });
    expect(choice.backend).toBe('wasm');
    expect(choice.adapter).toEqual({ name: 'SwiftShader driver 5.0.0', software: true });
    expect(choice.reason).toMatch(/SwiftShader driver 5.0.0 computes on the CPU/);
  });

  it('falls back to wasm when a GPU does not start', async () => {
    hostWith({ vendor: 'acme', architecture: 'one', device: '', description: '' });
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const choice = await selectBackend();
    warn.mockRestore();
    expect(choice.backend).toBe('wasm');
    expect(choice.reason).toMatch(/^WebGPU on acme one did not start/);
  });

  it('takes the backend that is named', async () => {
    expect(await selectBackend({ backend: 'cpu' })).toEqual({ backend: 'cpu', reason: 'as asked' });
    expect(getBackend()).toBe('cpu');
  });

  it('refuses webgpu without an adapter, and an unknown name', async () => {
    hostWith(null);
    await expect(selectBackend({ backend: 'webgpu' })).rejects.toMatchObject({ code: 'backend-unavailable' });
    const unknown = { backend: 'webgl' } as unknown as Parameters<typeof selectBackend>[0];
    await expect(selectBackend(unknown)).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});
