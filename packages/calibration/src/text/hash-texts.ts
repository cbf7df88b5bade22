import type { TextDocument } from './text-document.ts';

/**
 * SHA-256 of the documents, sources and order included, as 64 hexadecimal digits: the `textHash` of a provenance. Independent of
 * the files' format. Uses Web Crypto, which browsers offer on https and localhost.
 */
export async function hashTexts(documents: readonly TextDocument[]): Promise<string> {
  const canonical = documents.map(({ source, text }) => JSON.stringify([source, text])).join('\n');
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonical));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
