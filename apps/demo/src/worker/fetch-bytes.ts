import { KvlrError } from '@kvlr/core';

/** Fetches a file of the page whole. `onChunk` hears of each piece as it arrives. */
export async function fetchBytes(url: URL, onChunk: (byteLength: number) => void): Promise<Uint8Array> {
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
    message: `fetchBytes: expected ${url.pathname} to be served, got ${received}`,
    hint: 'Check that the server of this page still runs, then load the page again.',
    data: { url: url.href, received },
    cause,
  });
}
