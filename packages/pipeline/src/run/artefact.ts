import { decodeTensorBundle, encodeTensorBundle } from '@kvlr/checkpoint';
import { canonicalJson, KvlrError, sha256, type TensorBundle } from '@kvlr/core';

/** What an artefact was made from. It may be used again exactly when both hashes match. */
export interface ArtefactKey {
  /** Hash of the artefacts, model and texts it was computed from. */
  inputs: string;
  /** Hash of the part of the recipe it depends on. */
  recipe: string;
}

/** Raised whenever a stage computes something else from the same inputs: artefacts of older versions are made again. */
const computationVersion = 3;

/** Hashes the inputs and the part of the recipe that an artefact depends on: any JSON values, or nothing. */
export async function artefactKey(inputs: unknown, recipePart: unknown): Promise<ArtefactKey> {
  const hash = (value: unknown) => sha256(value === undefined ? '' : canonicalJson(value));
  return { inputs: await hash({ computationVersion, inputs }), recipe: await hash(recipePart) };
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

/** How a value lies in a run store, together with its origin and a hash of both. */
export interface Codec<Value> {
  encode(value: Value, origin: Origin): Promise<Uint8Array>;
  /** Undefined for bytes that were made from something else, and for damaged ones: such an artefact is made again. */
  decode(bytes: Uint8Array, key: ArtefactKey): Promise<Kept<Value> | undefined>;
}

/** One artefact of a run: its name in the store, what it is made from, how it is kept. */
export interface Artefact<Value> {
  name: string;
  key: ArtefactKey;
  codec: Codec<Value>;
}

/**
 * A JSON value. Only this version of this program writes under these keys, which vouch for its form; its hash, for every digit of it.
 *
 * @param around Further fields of the file, for other readers.
 */
export function jsonCodec<Value>(around: (value: Value) => object = () => ({})): Codec<Value> {
  return {
    async encode(value, { key, effort }) {
      const { inputs, recipe } = key;
      const content = { ...around(value), inputs, recipe, effort, value };
      const text = JSON.stringify({ ...content, digest: await sha256(JSON.stringify(content)) }, undefined, 2);
      return new TextEncoder().encode(`${text}\n`);
    },
    decode: (bytes, key) =>
      readOrDiscard(async () => {
        const saved: unknown = JSON.parse(new TextDecoder().decode(bytes));
        const { digest, ...content } = Object(saved) as Origin['key'] & Kept<Value> & { digest?: unknown };
        if (content.inputs !== key.inputs || content.recipe !== key.recipe) return undefined;
        if (digest !== (await sha256(JSON.stringify(content)))) return undefined;
        return { value: content.value, effort: content.effort };
      }),
  };
}

const inputsField = 'kvlr.inputs';
const recipeField = 'kvlr.recipe';
const effortField = 'kvlr.effort';
const digestField = 'kvlr.digest';

/** A value that is told by tensors and a few texts. */
export function bundleCodec<Value>(
  toBundle: (value: Value) => TensorBundle,
  fromBundle: (bundle: TensorBundle) => Value,
): Codec<Value> {
  return {
    async encode(value, { key, effort }) {
      const { metadata, tensors } = toBundle(value);
      const described = {
        ...metadata,
        [inputsField]: key.inputs,
        [recipeField]: key.recipe,
        ...(effort && { [effortField]: JSON.stringify(effort) }),
      };
      const digest = await digestOf({ metadata: described, tensors });
      return encodeTensorBundle({ metadata: { ...described, [digestField]: digest }, tensors });
    },
    decode: (bytes, key) =>
      readOrDiscard(async () => {
        const bundle = await readBundle(bytes);
        const { [inputsField]: inputs, [recipeField]: recipe, [effortField]: effort, ...metadata } = bundle.metadata;
        if (inputs !== key.inputs || recipe !== key.recipe) return undefined;
        const value = fromBundle({ ...bundle, metadata });
        return { value, effort: effort === undefined ? undefined : JSON.parse(effort) };
      }),
  };
}

/**
 * The bundle that `bundleCodec` wrote, whatever it was made from.
 *
 * @param file Names the bytes in errors.
 * @throws KvlrError 'file-malformed' and 'file-truncated' for bytes that are not what was written.
 */
export async function readBundle(bytes: Uint8Array, file = 'artefact'): Promise<TensorBundle> {
  const { metadata, tensors } = decodeTensorBundle(bytes, file);
  const { [digestField]: digest, ...described } = metadata;
  if (digest === (await digestOf({ metadata: described, tensors }))) return { metadata: described, tensors };
  throw new KvlrError('file-malformed', {
    message: 'expected tensors and texts of the hash that stands beside them, got others',
    hint: 'The file was damaged, or changed by hand: make it again.',
    where: { file },
    data: { file },
  });
}

/** A hash of every bit of a bundle. */
async function digestOf({ metadata, tensors }: TensorBundle): Promise<string> {
  const described: [name: string, shape: number[], content: string][] = [];
  for (const [name, { shape, data }] of [...tensors].sort(([left], [right]) => (left < right ? -1 : 1))) {
    described.push([name, shape, await sha256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))]);
  }
  return sha256(canonicalJson({ metadata, described }));
}

/** A damaged artefact is not worth an error: it is made again. */
async function readOrDiscard<Value>(read: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await read();
  } catch (error) {
    if (KvlrError.isInstance(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
