import { type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import { type BackendRequest, selectBackend } from '../backends/select-backend.ts';
import type { DecoderModel } from './decoder-model.ts';
import { uploadDecoder } from './decoder-tensors.ts';
import { LoadedDecoder } from './loaded-decoder.ts';

/**
 * Selects a backend and puts a LLaMA-family decoder on it, in float32. Any cache layout of core's `LayerCacheLayout` runs.
 * Throws 'backend-unavailable', 'tensor-missing', 'tensor-shape', 'non-finite' or 'aborted'; then no device memory is held.
 */
export async function loadModel(
  source: ModelSource,
  settings: BackendRequest & RunControl = {},
): Promise<DecoderModel> {
  throwIfAborted(settings.signal);
  const choice = await selectBackend(settings);
  return new LoadedDecoder(source, choice, await uploadDecoder(source, settings.signal));
}
