import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import type { EventListener } from '@kvlr/core';
import { loadModel as loadDecoder } from '../decoder/load-model.ts';
import { LanguageModel } from './language-model.ts';

/** How far a long step has come, in its own unit. */
export interface LoadProgress {
  completed: number;
  total: number;
  /** For example 'bytes'. */
  unit: string;
  /** The file or tensor at hand. */
  detail?: string;
}

/** Settings of the decoder, and a listener for progress alone. */
export type LanguageModelSettings = NonNullable<Parameters<typeof loadDecoder>[1]> & {
  onProgress?: (progress: LoadProgress) => void;
};

/**
 * Loads an open checkpoint with its tokenizer, ready to generate: weights lie on the device once, in f32 unless told
 * otherwise. The checkpoint stays open, and whoever opened it closes it.
 * Throws what `loadModel` throws for a bare model, and 'file-missing', 'file-malformed', 'tokenizer-mismatch'.
 */
export async function loadLanguageModel(
  checkpoint: HuggingFaceCheckpoint,
  settings: LanguageModelSettings = {},
): Promise<LanguageModel> {
  const tokenizer = await checkpoint.tokenizer();
  const decoder = await loadDecoder(checkpoint, { weights: 'f32', ...settings, onEvent: listenerOf(settings) });
  return new LanguageModel(decoder, tokenizer, checkpoint, async () => {});
}

/** Opens a checkpoint, loads it, and closes it with the model or when loading fails. */
export async function loadOpened(
  open: (onEvent: EventListener) => Promise<HuggingFaceCheckpoint>,
  settings: LanguageModelSettings,
): Promise<LanguageModel> {
  const checkpoint = await open(listenerOf(settings));
  try {
    const { decoder, tokenizer } = await loadLanguageModel(checkpoint, settings);
    return new LanguageModel(decoder, tokenizer, checkpoint, () => checkpoint.close());
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

function listenerOf({ onEvent, onProgress }: LanguageModelSettings): EventListener {
  return (event) => {
    onEvent?.(event);
    if (event.type !== 'progress') return;
    const { completed, total, unit, detail } = event;
    onProgress?.({ completed, total, unit, ...(detail !== undefined && { detail }) });
  };
}
