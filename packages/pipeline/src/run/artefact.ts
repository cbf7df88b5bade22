import { decodeTensorBundle, encodeTensorBundle } from '@kvlr/checkpoint';
import { canonicalJson, KvlrError, sha256, type TensorBundle } from '@kvlr/core';

/** What an artefact was made from. It may be used again exactly when both hashes match. */
export interface ArtefactKey {
  /** Hash of the artefacts, model and texts it was computed from. */
  inputs: string;
  /** Hash of the part of the recipe it depends on. */
  recipe: string;
}

/** Hashes the inputs and the part of the recipe that an artefact depends on: any JSON values, or nothing. */
export async function artefactKey(inputs: unknown, recipePart: unknown): Promise<ArtefactKey> {
  const hash = (value: unknown) => sha256(value === undefined ? '' : canonicalJson(value));
  return { inputs: await hash(inputs), recipe: await hash(recipePart) };
}

/** What making something took. */
export interface Effort {
  /** On the wall clock. */
  seconds: number;
  /** Largest resident memory of the process by the end; absent where it is unknown, as in browsers. */
  peakMemoryBytes?: number | undefined;
}

/** All of it one after the other; undefined when of a part nothing is known. */
export function addEfforts(parts: readonly (Effort | undefined)[]): Effort | undefined {
  let sum: Effort = { seconds: 0 };
  for (const part of parts) {
    if (part === undefined) return undefined;
    const peaks = [sum.peakMemoryBytes, part.peakMemoryBytes].filter((bytes) => bytes !== undefined);
    sum = { seconds: sum.seconds + part.seconds, ...(peaks.length > 0 && { peakMemoryBytes: Math.max(...peaks) }) };
  }
  return sum;
}

/** What an artefact is saved with: the key of what made it, and what making it took. */
interface Origin {
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

/** How a value lies in a run store, together with its origin. */
export interface Codec<Value> {
  encode(value: Value, origin: Origin): Uint8Array;
  /** Undefined for bytes that were made from something else, and for damaged ones: such an artefact is made again. */
  decode(bytes: Uint8Array, key: ArtefactKey): Kept<Value> | undefined;
}

/** One artefact of a run: its name in the store, what it is made from, how it is kept. */
export interface Artefact<Value> {
  name: string;
  key: ArtefactKey;
  codec: Codec<Value>;
}

/**
 * A JSON value. The hashes vouch for its form: only this version of this program writes them.
 *
 * @param around Further fields of the file, for other readers.
 */
export function jsonCodec<Value>(around: (value: Value) => object = () => ({})): Codec<Value> {
  return {
    encode(value, { key, effort }) {
      const { inputs, recipe } = key;
      const text = JSON.stringify({ ...around(value), inputs, recipe, effort, value }, undefined, 2);
      return new TextEncoder().encode(`${text}\n`);
    },
    decode(bytes, key) {
      const saved = readOrDiscard(() => JSON.parse(new TextDecoder().decode(bytes)));
      if (saved?.inputs !== key.inputs || saved?.recipe !== key.recipe) return undefined;
      return { value: saved.value as Value, effort: saved.effort };
    },
  };
}

const inputsField = 'kvlr.inputs';
const recipeField = 'kvlr.recipe';
const effortField = 'kvlr.effort';

/** A value that is told by tensors and a few texts. */
export function bundleCodec<Value>(
  toBundle: (value: Value) => TensorBundle,
  fromBundle: (bundle: TensorBundle) => Value,
): Codec<Value> {
  return {
    encode(value, { key, effort }) {
      const bundle = toBundle(value);
      const metadata = {
        ...bundle.metadata,
        [inputsField]: key.inputs,
        [recipeField]: key.recipe,
        ...(effort && { [effortField]: JSON.stringify(effort) }),
      };
      return encodeTensorBundle({ ...bundle, metadata });
    },
    decode: (bytes, key) =>
      readOrDiscard(() => {
        const bundle = decodeTensorBundle(bytes);
        const { [inputsField]: inputs, [recipeField]: recipe, [effortField]: effort, ...metadata } = bundle.metadata;
        if (inputs !== key.inputs || recipe !== key.recipe) return undefined;
        const value = fromBundle({ ...bundle, metadata });
        return { value, effort: effort === undefined ? undefined : JSON.parse(effort) };
      }),
  };
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
