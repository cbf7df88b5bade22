import { KvlrError } from '@kvlr/core';

/** A model on the Hugging Face hub. */
export interface HubId {
  /** owner/name */
  name: string;
  /** Branch, tag or commit. */
  revision: string;
}

const pattern = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w./-]+))?$/;

/** Reads owner/name or owner/name@revision; undefined for a text of another form. The revision is main by default. */
export function parseHubId(text: string): HubId | undefined {
  const match = pattern.exec(text);
  return match ? { name: match[1]!, revision: match[2] ?? 'main' } : undefined;
}

/** `parseHubId` that throws 'invalid-argument'. */
export function requireHubId(text: string): HubId {
  const id = parseHubId(text);
  if (id !== undefined) return id;
  throw new KvlrError('invalid-argument', {
    message: `requireHubId: expected the id of a model on the hub, got ${JSON.stringify(text)}`,
    hint: 'Write owner/name, or owner/name@revision.',
    data: { received: text },
  });
}
