import { KvlrError } from '@kvlr/core';

/** Throws 'text-too-short' unless `available` tokens suffice, saying how many are needed and how many there are. */
export function requireTokens(place: string, available: number, required: number, text = 'the text'): void {
  if (available >= required) return;
  throw new KvlrError('text-too-short', {
    message: `${place}: expected at least ${required} tokens in ${text}, got ${available}`,
    hint: 'Pass more text, or ask for fewer or shorter windows.',
    data: { required, available },
  });
}
