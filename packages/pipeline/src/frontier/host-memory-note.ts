import { type DecoderShape, hostCacheBytes } from '@kvlr/core';
import { formatBytes, formatCount } from '@kvlr/report';
import type { NamedCache } from './caches.ts';

/** What is to be said of a cache whose bytes are those on a device, with values in host memory besides; nothing of others. */
export function hostMemoryNotes(
  shape: DecoderShape,
  cache: NamedCache | undefined,
  tokens: number,
  name = cache?.name,
): string[] {
  const bytes = cache === undefined ? 0 : hostCacheBytes(shape, cache.cache, tokens);
  if (bytes === 0) return [];
  const held = `${formatBytes(bytes)} at ${formatCount(tokens)} tokens`;
  return [`${name}: bytes are those on the device. ${held} lie in host memory besides, from where values are fetched.`];
}
