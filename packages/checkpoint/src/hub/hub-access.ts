import { KvlrError } from '@kvlr/core';

/** How the hub is reached. */
export interface HubAccess {
  /** Another hub than the library's default, for example a mirror. */
  hubUrl?: string;
  /** For private and gated models; begins with hf_. */
  accessToken?: string;
  /** Replacement of the global fetch. */
  fetch?: typeof fetch;
  signal?: AbortSignal;
}

/** The parameters that every call of the hub library takes; each request ends when the signal fires. */
export function hubParameters({ hubUrl, accessToken, fetch: send = fetch, signal }: HubAccess) {
  if (accessToken !== undefined && !accessToken.startsWith('hf_')) {
    throw new KvlrError('invalid-argument', {
      message: 'hubParameters: expected an access token that begins with hf_, got another text',
      hint: 'Copy the token again (HF_TOKEN), or leave it out for public models.',
    });
  }
  const stoppable: typeof fetch = (input, init) => send(input, { ...init, signal });
  return { hubUrl, accessToken, fetch: stoppable };
}
