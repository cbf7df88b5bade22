import { decodeTensorBundle, encodeTensorBundle } from '@kvlr/checkpoint';
import { KvlrError, type TensorBundle } from '@kvlr/core';
import type { Effort } from './effort.ts';
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

/** What an artefact is saved with: the key of what made it, and what making it took. */
export interface Origin {
  key: ArtefactKey;
  /** Undefined where a part of it was made by a run that kept no record. */
  effort: Effort | undefined;
}

/** An artefact of an earlier run. */
export interface Kept<Value> {
  value: Value;
  /** What making it took; undefined where nothing recorded it. */
  effort: Effort | undefined;
}

const inputsField = 'kvlr.inputs';
const recipeField = 'kvlr.recipe';
const effortField = 'kvlr.effort';

/** Saves tensors together with their origin. */
export async function saveBundle(
  store: RunStore,
  name: string,
  { key, effort }: Origin,
  bundle: TensorBundle,
): Promise<void> {
  const metadata = {
    ...bundle.metadata,
    [inputsField]: key.inputs,
    [recipeField]: key.recipe,
    ...(effort && { [effortField]: JSON.stringify(effort) }),
  };
  await store.write(name, encodeTensorBundle({ ...bundle, metadata }));
}

/** The tensors saved under this name, when they were made from exactly these inputs; otherwise undefined. */
export async function loadBundle(
  store: RunStore,
  name: string,
  key: ArtefactKey,
): Promise<Kept<TensorBundle> | undefined> {
  const bytes = await store.read(name);
  if (bytes === undefined) return undefined;
  return readOrDiscard(() => {
    const bundle = decodeTensorBundle(bytes);
    const { [inputsField]: inputs, [recipeField]: recipe, [effortField]: effort, ...metadata } = bundle.metadata;
    if (inputs !== key.inputs || recipe !== key.recipe) return undefined;
    return { value: { ...bundle, metadata }, effort: effort === undefined ? undefined : JSON.parse(effort) };
  });
}

/** Saves a JSON value together with its origin. `around` are further fields, for other readers of the file. */
export async function saveJson(
  store: RunStore,
  name: string,
  { key, effort }: Origin,
  value: unknown,
  around: object = {},
): Promise<void> {
  const text = JSON.stringify({ ...around, inputs: key.inputs, recipe: key.recipe, effort, value }, undefined, 2);
  await store.write(name, new TextEncoder().encode(`${text}\n`));
}

/**
 * The JSON value saved under this name, when it was made from exactly these inputs; otherwise undefined. The hashes
 * vouch for its form: only this version of this program writes them.
 */
export async function loadJson<Value>(
  store: RunStore,
  name: string,
  key: ArtefactKey,
): Promise<Kept<Value> | undefined> {
  const bytes = await store.read(name);
  if (bytes === undefined) return undefined;
  const saved = readOrDiscard(() => JSON.parse(new TextDecoder().decode(bytes)));
  if (saved?.inputs !== key.inputs || saved?.recipe !== key.recipe) return undefined;
  return { value: saved.value as Value, effort: saved.effort };
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
