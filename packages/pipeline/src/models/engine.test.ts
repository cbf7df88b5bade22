import type { KvlrEvent } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { chooseEngine, type NativeEngine } from './engine.ts';

const engineThat = (found: Awaited<ReturnType<NativeEngine['look']>>): NativeEngine => ({
  name: 'onnx',
  look: async () => found,
  load: () => Promise.reject(new Error('no model is loaded here')),
  open: () => Promise.reject(new Error('no model is opened here')),
});
const installed = engineThat({ version: '1.2.3' });
const missing = engineThat({ missing: 'onnxruntime-node is not installed' });

describe('the engine that runs windows', () => {
  it('is native code where it is installed, and an event says so', async () => {
    const events: KvlrEvent[] = [];
    const chosen = await chooseEngine({ nativeEngine: installed }, 'wasm', (event) => events.push(event));
    expect(chosen).toEqual({ native: installed, reason: 'ONNX Runtime 1.2.3, native code' });
    expect(events).toMatchObject([{ type: 'note', message: 'Windows run on ONNX Runtime 1.2.3, native code' }]);
  });

  it.each([
    ['it is not installed', { nativeEngine: missing }, 'wasm', 'TensorFlow.js: onnxruntime-node is not installed'],
    ['there is none, as in browsers', {}, 'wasm', 'TensorFlow.js: there is no native code here'],
    ['a GPU answers', { nativeEngine: installed }, 'webgpu', 'TensorFlow.js, on the GPU'],
    ['it is asked for', { engine: 'tfjs', nativeEngine: installed }, 'wasm', 'TensorFlow.js, as asked'],
  ] as const)('is TensorFlow.js where %s', async (_, request, backend, reason) => {
    expect(await chooseEngine(request, backend)).toEqual({ reason });
  });

  it('is refused where native code is asked for and missing', async () => {
    const error = await expectKvlrError(
      () => chooseEngine({ engine: 'onnx', nativeEngine: missing }, 'wasm'),
      'backend-unavailable',
      /onnxruntime-node is not installed/,
    );
    expect(error.where).toEqual({ argument: 'engine' });
  });
});
