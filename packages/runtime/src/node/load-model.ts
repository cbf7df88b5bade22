import type { CheckpointLocation } from '@kvlr/checkpoint';
import { type OpenSourceSettings, openSource } from '@kvlr/checkpoint/node';
import type { ModelSource } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel as loadDecoder } from '../decoder/load-model.ts';
import { isModelSource, type LanguageModel, type LanguageModelSettings, loadOpened } from '../text/language-model.ts';
import { prepareNodeRuntime } from './prepare-node-runtime.ts';

/** Settings of the model, and of the way to it. */
export type OpenModelSettings = LanguageModelSettings & OpenSourceSettings;

/**
 * `loadModel` of the main entry for Node: readies Node first, takes directories as well, and keeps models of the hub in the
 * cache on disk.
 */
export function loadModel(source: ModelSource, settings?: LanguageModelSettings): Promise<DecoderModel>;
export function loadModel(source: CheckpointLocation, settings?: OpenModelSettings): Promise<LanguageModel>;
export async function loadModel(
  source: ModelSource | CheckpointLocation,
  settings: OpenModelSettings = {},
): Promise<DecoderModel | LanguageModel> {
  await prepareNodeRuntime();
  if (isModelSource(source)) return loadDecoder(source, settings);
  return loadOpened((onEvent) => openSource(source, { ...settings, onEvent }), settings);
}
