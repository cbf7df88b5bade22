import { decodeTensorBundle, encodeTensorBundle } from '@kvlr/checkpoint';
import { KvlrError, type TensorBundle } from '@kvlr/core';
import { hashValue } from './hash.ts';
import type { RunStore } from './run-store.ts';

/** What an artefact was made from. It may be used again exactly when both hashes match. */
export interface ArtefactKey {
  /** Hash of the artefacts, model and texts it was computed from. */
  inputs: string;
  /** Hash of the part of the recipe it depends on. */
  recipe: string;
}

/** Hashes the inputs and the part of the recipe that an artefact depends on. */
export async function artefactKey(inputs: unknown, recipePart: unknown): Promise<ArtefactKey> {
  return { inputs: await hashValue(inputs), recipe: await hashValue(recipePart) };
}

const inputsField = 'kvlr.inputs';
const recipeField = 'kvlr.recipe';

/** Saves tensors together with the key of what made them. */
export async function saveBundle(store: RunStore, name: string, key: ArtefactKey, bundle: TensorBundle): Promise<void> {
  const metadata = { ...bundle.metadata, [inputsField]: key.inputs, [recipeField]: key.recipe };
  await store.write(name, encodeTensorBundle({ ...bundle, metadata }));
}

/** The tensors saved under this name, when they were made from exactly these inputs; otherwise undefined. */
export async function loadBundle(store: RunStore, name: string, key: ArtefactKey): Promise<TensorBundle | undefined> {
  const bytes = await store.read(name);
  if (bytes === undefined) return undefined;
  const bundle = readOrDiscard(() => decodeTensorBundle(bytes));
  if (bundle === undefined) return undefined;
  const { [inputsField]: inputs, [recipeField]: recipe, ...metadata } = bundle.metadata;
  return inputs === key.inputs && recipe === key.recipe ? { ...bundle, metadata } : undefined;
}

/** Saves a JSON value together with the key of what made it. `around` are further fields, for other readers of the file. */
export async function saveJson(
  store: RunStore,
  name: string,
  key: ArtefactKey,
  value: unknown,
  around: object = {},
): Promise<void> {
  const text = JSON.stringify({ ...around, inputs: key.inputs, recipe: key.recipe, value }, undefined, 2);
  await store.write(name, new TextEncoder().encode(`${text}\n`));
}

/**
 * The JSON value saved under this name, when it was made from exactly these inputs; otherwise undefined. The hashes
 * vouch for its form: only this version of this program writes them.
 */
export async function loadJson<Value>(store: RunStore, name: string, key: ArtefactKey): Promise<Value | undefined> {
  const bytes = await store.read(name);
  if (bytes === undefined) return undefined;
  const saved = readOrDiscard(() => JSON.parse(new TextDecoder().decode(bytes)));
  if (saved?.inputs !== key.inputs || saved?.recipe !== key.recipe) return undefined;
  return saved.value as Value;
}

/** A damaged artefact is not worth an error: it is made again. */
function readOrDiscard<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (KvlrError.isInstance(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
