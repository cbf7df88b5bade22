import { createTinyModel } from '@kvlr/testkit';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { loadModel } from '../decoder/load-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { DeviceGuard } from './device-guard.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];

it.skipIf(skip)('types validation errors, caches too large to bind, and the loss of the device', async () => {
  const model = await loadModel(createTinyModel({ numLayers: 1 }), { backend: 'webgpu', weights: 'f32' });
  const { device } = backend() as WebGPUBackend;
  const invalid = async () => device.createBuffer({ size: 4, usage: 0 });
  await expect(new DeviceGuard(true).run(invalid)).rejects.toMatchObject({ code: 'device-error' });
  const capacity = Math.ceil(device.limits.maxStorageBufferBindingSize / 256) + 1;
  await expect(model.createCache(capacity)).rejects.toMatchObject({ code: 'memory-exceeded' });
  const cache = await model.createCache(8);
  device.destroy();
  await device.lost;
  await expect(model.extend(cache, [1, 2])).rejects.toMatchObject({
    code: 'device-lost',
    data: { reason: 'destroyed' },
  });
  await expect(model.generate([1], { maxNewTokens: 2 }).next()).rejects.toMatchObject({ code: 'device-lost' });
});
