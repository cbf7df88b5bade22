import { KvlrError } from '@kvlr/core';

/**
 * What the hub library threw, as a typed error: 'access-denied' (401, 403), 'file-missing' (404), 'network' (anything else
 * that the hub said, or no answer), 'aborted'. Typed errors pass through.
 */
export function hubError(cause: unknown, id: string): KvlrError {
  if (KvlrError.isInstance(cause)) return cause;
  if (cause instanceof Error && cause.name === 'AbortError') {
    return new KvlrError('aborted', { message: 'The work was stopped before it was done.', cause });
  }
  const status = (cause as { statusCode?: unknown } | undefined)?.statusCode;
  const said = cause instanceof Error ? cause.message : String(cause);
  const data = { id, status };
  const message = `openHubModel: expected the hub to give ${id}, got ${status === undefined ? said : `status ${status}: ${said}`}`;
  if (status === 401 || status === 403) {
    const hint =
      'Check the name. For a private or gated model, accept its terms on its page and put a token that may read it in HF_TOKEN.';
    return new KvlrError('access-denied', { message, hint, data, cause });
  }
  if (status === 404) {
    const hint = 'Check owner, name and revision: the hub has no such model or file.';
    return new KvlrError('file-missing', { message, hint, data, cause });
  }
  const hint =
    status === undefined
      ? 'Check the connection (and HF_ENDPOINT, if it is set); what was loaded is kept, and the next try goes on from there.'
      : 'Try again later; what was loaded is kept, and the next try goes on from there.';
  return new KvlrError('network', { message, hint, data, cause });
}
