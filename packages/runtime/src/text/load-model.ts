import { type CheckpointLocation, type OpenSourceSettings, openSource } from '@kvlr/checkpoint';
import type { ModelSource } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel as loadDecoder } from '../decoder/load-model.ts';
import type { LanguageModel } from './language-model.ts';
import { type LanguageModelSettings, loadOpened } from './load-language-model.ts';

/** Settings of the model, and of the way to it. */
export type OpenModelSettings = LanguageModelSettings & OpenSourceSettings;

/**
 * Loads a model. From a place where a checkpoint lies ('owner/name' on the hub, a URL, files that a user chose; in Node use
 * the one of `@kvlr/runtime/node`, which takes directories too) comes a `LanguageModel`, text in and text out. From a
 * `ModelSource` comes the bare `DecoderModel`, ids in and logits out.
 *
 * Throws what `openSource` throws, 'backend-unavailable', 'non-finite', 'aborted'; then no device memory is held.
 */
export function loadModel(source: ModelSource, settings?: LanguageModelSettings): Promise<DecoderModel>;
export function loadModel(source: CheckpointLocation, settings?: OpenModelSettings): Promise<LanguageModel>;
export function loadModel(
  source: ModelSource | CheckpointLocation,
  settings: OpenModelSettings = {},
): Promise<DecoderModel | LanguageModel> {
  if (isModelSource(source)) return loadDecoder(source, settings);
  return loadOpened(() => openSource(source, settings), settings);
}

export function isModelSource(source: ModelSource | CheckpointLocation): source is ModelSource {
  return typeof source === 'object' && 'tensorName' in source;
}
