import { readTexts, type TextDocument } from '@kvlr/calibration';
import { createMemoryFiles, type HuggingFaceCheckpoint, openCheckpoint } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';
import { referenceModelCard, referenceModelFiles, referenceTexts } from '@kvlr/reference-model';
import type { PairSet } from '../pair.ts';
import { openPair, type PairFiles, pairFileNames } from '../pair-files.ts';

/** The embedded model: its files as they came, and the checkpoint they are. */
export interface EmbeddedModel {
  contents: Record<string, Uint8Array>;
  checkpoint: HuggingFaceCheckpoint;
}

/** Fetches the embedded model from the page's own assets. */
export async function loadEmbedded(): Promise<EmbeddedModel> {
  requireSecureContext();
  const files = Object.entries(referenceModelFiles).map(async ([name, url]) => [name, await fetchBytes(url)] as const);
  const contents = Object.fromEntries(await Promise.all(files));
  return { contents, checkpoint: await openCheckpoint(createMemoryFiles(contents, referenceModelCard.name)) };
}

/** What a run is made and measured on. */
export type EmbeddedTexts = Record<'calibration' | 'evaluation', TextDocument[]>;

/** Fetches the texts that belong to it: for statistics and repair, and held-out ones. */
export async function loadTexts(): Promise<EmbeddedTexts> {
  const [calibration, evaluation] = await Promise.all(
    [referenceTexts.calibration, referenceTexts.validation].map(async (url) => {
      const text = new TextDecoder().decode(await fetchBytes(url));
      return readTexts([{ name: url.pathname, text }]);
    }),
  );
  return { calibration: calibration!, evaluation: evaluation! };
}

/** Characters of each source that a visitor's tokenizer is given, which may be slow: enough for the windows that the page asks for. */
const enoughCharacters = { calibration: 200_000, evaluation: 60_000 };

/** The beginning of the texts, for models whose tokenizers have not been seen before. */
export function shortenTexts(texts: EmbeddedTexts): EmbeddedTexts {
  const shorten = (documents: TextDocument[], most: number) => {
    const taken = new Map<string, number>();
    return documents.filter(({ source, text }) => {
      const before = taken.get(source) ?? 0;
      taken.set(source, before + text.length);
      return before < most;
    });
  };
  return {
    calibration: shorten(texts.calibration, enoughCharacters.calibration),
    evaluation: shorten(texts.evaluation, enoughCharacters.evaluation),
  };
}

/** The folder of the pairs that the build made, beside the page: a built worker lies in its assets. */
const pairsFolder = new URL(import.meta.env.DEV ? '/pairs/' : '../pairs/', self.location.href);

/** What the build measured of the pairs that ship with the page. */
export async function loadPairSet(): Promise<PairSet> {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(new URL('pairs.json', pairsFolder))));
}

/** One of the pairs that ship with the page. */
export async function loadShippedPair(name: string, original: EmbeddedModel): Promise<HuggingFaceCheckpoint> {
  const files = pairFileNames.map(
    async (file) => [file, await fetchBytes(new URL(`${name}/${file}`, pairsFolder))] as const,
  );
  return openPair(Object.fromEntries(await Promise.all(files)) as PairFiles, original.contents);
}

/** Content hashes need crypto.subtle, which browsers give only to secure pages. */
function requireSecureContext(): void {
  if (globalThis.isSecureContext) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a secure page, got ${globalThis.location.origin}`,
    hint: 'Open the page over https, or on this machine at http://localhost.',
  });
}

async function fetchBytes(url: URL): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    throw notServed(url, 'no answer', cause);
  }
  if (!response.ok) throw notServed(url, `status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

function notServed(url: URL, received: string, cause?: unknown): KvlrError {
  return new KvlrError('network', {
    message: `expected the file to be served, got ${received}`,
    where: { file: url.pathname },
    hint: 'Check that the server of this page still runs, then load the page again.',
    data: { url: url.href, received },
    cause,
  });
}
