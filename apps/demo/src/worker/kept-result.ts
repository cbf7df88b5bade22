import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import type { ModelSource } from '@kvlr/core';
import type { KeptResult } from '../messages.ts';
import { encodePair, openPair, type PairFiles, pairFileNames } from '../pair-files.ts';
import type { EmbeddedModel } from './load-embedded.ts';

/** Raised when what is kept changes its form: older ones are then forgotten. */
const cacheName = 'kvlr-result-2';
const recordName = 'result.json';

/** Addresses under which the browser keeps the files: below the page, and never asked of the server. */
function addressOf(name: string): string {
  return new URL(`./kept/${name}`, self.location.href).href;
}

/** Keeps what the visitor made of the embedded model, so that a reload shows it again. */
export async function keepResult(
  result: KeptResult,
  model: ModelSource,
  original: HuggingFaceCheckpoint,
): Promise<void> {
  const files: Record<string, BodyInit> = {
    ...((await encodePair(model, original)) as Record<string, Uint8Array<ArrayBuffer>>),
    [recordName]: JSON.stringify({ modelId: original.id, result }),
  };
  const cache = await caches.open(cacheName);
  // The record last: without it nothing counts as kept.
  await cache.delete(addressOf(recordName));
  for (const [name, body] of Object.entries(files)) await cache.put(addressOf(name), new Response(body));
}

/** What an earlier visit kept of this model; undefined where nothing is, or where the browser keeps nothing. */
export async function readKeptResult(
  original: EmbeddedModel,
): Promise<{ result: KeptResult; open: () => Promise<HuggingFaceCheckpoint> } | undefined> {
  try {
    const cache = await caches.open(cacheName);
    const record = await cache.match(addressOf(recordName));
    if (record === undefined) return undefined;
    const { modelId, result } = (await record.json()) as { modelId: string; result: KeptResult };
    if (modelId !== original.checkpoint.id) return undefined;
    const read = async (name: string) => {
      const kept = await cache.match(addressOf(name));
      return [name, new Uint8Array(await kept!.arrayBuffer())] as const;
    };
    const open = async () => {
      const files = Object.fromEntries(await Promise.all(pairFileNames.map(read))) as PairFiles;
      return openPair(files, original.contents);
    };
    return { result, open };
  } catch {
    // A page without storage, or a store that was cleared half: nothing is kept.
    return undefined;
  }
}
