import { readTexts, type TextDocument } from '@kvlr/calibration';
import { createMemoryFiles, type HuggingFaceCheckpoint, openCheckpoint } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';
import { referenceModelCard, referenceModelFiles, referenceTexts } from '@kvlr/reference-model';

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
    message: `expected a secure page, got ${globalThis.location.origin}`,
    hint: 'Open the page over https, or on this machine at http://localhost.',
  });
}

/** Fetches a file of the page whole. `onChunk` hears of each piece as it arrives. */
async function fetchBytes(url: URL, onChunk: (byteLength: number) => void): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    throw notServed(url, 'no answer', cause);
  }
  if (!response.ok || response.body === null) throw notServed(url, `status ${response.status}`);
  const chunks: Uint8Array[] = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    onChunk(value.byteLength);
  }
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
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
