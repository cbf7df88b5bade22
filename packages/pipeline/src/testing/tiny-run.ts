import { createMemoryFiles, type HuggingFaceCheckpoint, openCheckpoint } from '@kvlr/checkpoint';
import { type TinyModelSettings, tinyCheckpointFiles, tinyRecipe, tinyTexts } from '@kvlr/testkit';

export { tinyDistillation, tinyRecipe, tinyTexts } from '@kvlr/testkit';

/** A tiny random model with a tokenizer for ASCII, as a checkpoint in memory with F32 weights. */
export async function openTinyCheckpoint(
  settings: Omit<TinyModelSettings, 'rope'> = {},
): Promise<HuggingFaceCheckpoint> {
  return openCheckpoint(createMemoryFiles(await tinyCheckpointFiles(settings)));
}

/** What compresses or compares a tiny model in about a second. */
export async function tinyRun(settings: Omit<TinyModelSettings, 'rope'> = {}) {
  const model = await openTinyCheckpoint(settings);
  return { model, recipe: tinyRecipe, texts: tinyTexts, runtime: { backend: 'cpu' as const } };
}
