import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { backend } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { testedBackends, useBackend } from '../../testing/tested-backends.ts';
import { productKernels } from './product-kernels.ts';

it('assembles a valid module, so that the wasm backend multiplies with vectors', async () => {
  await testedBackends();
  await useBackend('wasm');
  expect(Object.keys(productKernels(backend() as BackendWasm) ?? {})).toContain('block_pair');
});
