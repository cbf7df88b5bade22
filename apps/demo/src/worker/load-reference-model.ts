import { readTexts, type TextDocument } from '@kvlr/calibration';
import { createMemoryFiles, type HuggingFaceCheckpoint, openCheckpoint } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';
import { referenceModelCard, referenceModelFiles, referenceTexts } from '@kvlr/reference-model';
import { fetchBytes } from './fetch-bytes.ts';

/** Everything that the page works on. */
export interface ReferenceModel {
  checkpoint: HuggingFaceCheckpoint;
  calibration: TextDocument[];
  validation: TextDocument[];
}

/** Fetches the embedded model and its texts from the page's own assets. `onBytes` hears how much has come so far. */
export async function loadReferenceModel(onBytes: (loadedBytes: number) => void): Promise<ReferenceModel> {
  requireSecureContext();
  let loadedBytes = 0;
  const onChunk = (byteLength: number) => {
    loadedBytes += byteLength;
    onBytes(loadedBytes);
  };
  const files = Object.entries(referenceModelFiles).map(
    async ([name, url]) => [name, await fetchBytes(url, onChunk)] as const,
  );
  const texts = [referenceTexts.calibration, referenceTexts.validation].map(async (url) => {
    const text = new TextDecoder().decode(await fetchBytes(url, onChunk));
    return readTexts([{ name: url.pathname, text }]);
  });
  const contents = Object.fromEntries(await Promise.all(files));
  const [calibration, validation] = await Promise.all(texts);
  const checkpoint = await openCheckpoint(createMemoryFiles(contents, referenceModelCard.name));
  return { checkpoint, calibration: calibration!, validation: validation! };
}

/** Content hashes need crypto.subtle, which browsers give only to secure pages. */
function requireSecureContext(): void {
  if (globalThis.isSecureContext) return;
  throw new KvlrError('unsupported-feature', {
    message: `loadReferenceModel: expected a secure page, got ${globalThis.location.origin}`,
    hint: 'Open the page over https, or on this machine at http://localhost.',
  });
}
