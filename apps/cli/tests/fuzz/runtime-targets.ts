import { encodeSafetensors, parseSafetensorsHeader, safetensorsHeaderLength } from '@kvlr/checkpoint';
import { type CacheDtype, KvlrError, type TensorSource } from '@kvlr/core';
import { cacheSettingsOf, type DecoderModel, loadModel } from '@kvlr/runtime';
import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import {
  type Dice,
  decode,
  encode,
  joined,
  mutateBytes,
  mutateHeader,
  mutateJson,
  mutateText,
  type Target,
} from './mutate.ts';

const source = createTinyModel();

/** What the runtime reads besides checkpoints: saved caches, packed weights, names of caches. */
export async function runtimeTargets(): Promise<Record<string, Target>> {
  const model = await loadModel(source, { backend: 'cpu', weights: 'f32' });
  return {
    cache: await savedCaches(model, ['f32', 'int4', 'fp8']),
    'cache-blocks': await savedCaches(model, ['channel-4', 'channel-2']),
    'cache-name': cacheNames(),
    packed: await packedWeights(),
  };
}

/** Caches, of blocks one full; whatever one is made of, the next token ends well. */
async function savedCaches(model: DecoderModel, dtypes: readonly CacheDtype[]): Promise<Target> {
  const saved: Uint8Array[] = [];
  for (const dtype of dtypes) {
    const cache = await model.createCache({ dtype, batch: 2 });
    await model.extend(cache, [randomTokenIds(40, 50), randomTokenIds(3, 50)]);
    saved.push(await model.saveCache(cache));
    cache.dispose();
  }
  return {
    make(dice) {
      const bytes = dice.pick(saved);
      return {
        cache:
          dice.below(2) === 0
            ? mutateCacheHeader(bytes, dice)
            : mutateBytes(bytes, dice, dice.pick([16, 400, bytes.length])),
      };
    },
    read: (input) => readCache(model, input.cache!),
  };
}

async function readCache(model: DecoderModel, bytes: Uint8Array): Promise<void> {
  const cache = await model.loadCache(bytes);
  try {
    await model.extend(
      cache,
      Array.from({ length: cache.batch }, () => [1]),
    );
  } finally {
    cache.dispose();
  }
}

/** A saved cache with a wrong header of the right length: magic, length, JSON, words. */
function mutateCacheHeader(bytes: Uint8Array, dice: Dice): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const end = 12 + view.getUint32(8, true);
  const header = encode(mutateJson(decode(bytes.subarray(12, end)), dice));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, header.length, true);
  return joined(bytes.subarray(0, 8), length, header, bytes.subarray(end));
}

function cacheNames(): Target {
  const names = ['channel-2+window=32+first=4', 'q8_0:q5_1', 'f16+policy=snapkv+keep=25%', 'int8'];
  const pieces = [
    '+',
    ':',
    '=',
    '%',
    'window=',
    'first=',
    '-1',
    '1e9',
    '999999999',
    'keep=',
    'NaN',
    'policy=',
    '\\',
    'C:',
    '../',
    '\0',
  ];
  return {
    make: (dice) => ({ name: encode(mutateText(dice.pick(names), pieces, dice)) }),
    read: async (input) => cacheSettingsOf(decode(input.name!)),
  };
}

async function packedWeights(): Promise<Target> {
  const files: Uint8Array[] = [];
  for (const weights of ['int8', 'int4', 'f16'] as const) files.push(await pack(weights));
  return {
    make(dice) {
      const bytes = dice.pick(files);
      return { packed: dice.below(2) === 0 ? mutateHeader(bytes, dice) : mutateBytes(bytes, dice, 4000) };
    },
    async read(input) {
      const packed = openBytes(input.packed!);
      // Refused in the formats of other files.
      const formats = (['int8', 'int4', 'f16'] as const).map(async (weights) => {
        const model = await loadModel(source, { backend: 'cpu', weights, packed });
        try {
          await model.logits(Int32Array.of(1, 2));
        } finally {
          model.dispose();
        }
      });
      for (const outcome of await Promise.allSettled(formats)) {
        if (outcome.status === 'rejected' && !KvlrError.isInstance(outcome.reason)) throw outcome.reason;
      }
    },
  };
}

/** The packed weights of the model as one safetensors file. */
async function pack(weights: 'int8' | 'int4' | 'f16'): Promise<Uint8Array> {
  const model = await loadModel(source, { backend: 'cpu', weights });
  const tensors: Parameters<typeof encodeSafetensors>[0][number][] = [];
  await model.savePacked({
    write: async (name, dtype, shape, bytes) =>
      void tensors.push({ name, dtype, shape, bytes: Uint8Array.from(bytes) }),
    finish: async () => {},
    abort: async () => {},
  });
  model.dispose();
  return encodeSafetensors(tensors);
}

/** The tensors of a safetensors file. Throws what its header is refused with. */
function openBytes(bytes: Uint8Array): TensorSource {
  const length = safetensorsHeaderLength(bytes.subarray(0, 8), bytes.length, 'packed');
  const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, 'packed');
  const found = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const find = (name: string) => {
    const tensor = found.get(name);
    if (tensor) return tensor;
    throw new KvlrError('tensor-missing', { message: `expected ${name}, got none` });
  };
  const info = (name: string) => {
    const { dtype, shape, start, end } = find(name);
    return { name, dtype, shape, byteLength: end - start };
  };
  const readBytes = async (name: string) => bytes.subarray(find(name).start, find(name).end);
  return {
    ...{ list: () => tensors.map(({ name }) => info(name)), has: (name: string) => found.has(name), info, readBytes },
    // Packed weights are read as they lie.
    readFloat32: readBytes as never,
    close: async () => {},
  };
}
