import { createMemoryFiles, type HuggingFaceCheckpoint, openCheckpoint } from '@kvlr/checkpoint';
import type { EventListener, StageName } from '@kvlr/core';
import { type TinyModelSettings, tinyCheckpointFiles, tinyRecipe, tinyTexts } from '@kvlr/testkit';
import type { RunStore } from '../run/store.ts';

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

/** The stages that an earlier run had done. */
export function skippedStages(stages: readonly { stage: StageName; skipped: boolean }[]): StageName[] {
  return stages.filter(({ skipped }) => skipped).map(({ stage }) => stage);
}

/** Stops a run as soon as a stage, by its name or title, has come this far. */
export function stopAt(stage: string, completed: number): { onEvent: EventListener; signal: AbortSignal } {
  const stop = new AbortController();
  let title = '';
  const onEvent: EventListener = (event) => {
    if (event.type === 'stage-started') title = event.title;
    const isThere = event.type === 'progress' && (event.stage === stage || title.startsWith(stage));
    if (isThere && event.completed >= completed) stop.abort();
  };
  return { onEvent, signal: stop.signal };
}

/** Keeps the messages of warnings. */
export function keepWarnings(): { warnings: string[]; onEvent: EventListener } {
  const warnings: string[] = [];
  return {
    warnings,
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message);
    },
  };
}

export async function readText(store: RunStore, name: string): Promise<string> {
  return new TextDecoder().decode(await store.read(name));
}

/** The value of an artefact that is kept as JSON. */
export async function readJson(store: RunStore, name: string) {
  return JSON.parse(await readText(store, name)).value;
}
