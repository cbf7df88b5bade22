import { KvlrError } from '@kvlr/core';
import type { BrowserFile } from '../files/browser-files.ts';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';

/**
 * Where a checkpoint is: the URL below which its files lie, the id of a model on the hub (owner/name, or
 * owner/name@revision), files that a user chose, or any other `CheckpointFiles`. In Node also the path of a directory.
 */
export type CheckpointLocation = string | URL | Iterable<BrowserFile> | CheckpointFiles;

/** True for http: and https: addresses. */
export function isAddress(text: string): boolean {
  return /^https?:\/\//.test(text);
}

export function unknownLocation(received: string, forms: string): KvlrError {
  return new KvlrError('file-missing', {
    message: `openSource: expected ${forms}, got ${JSON.stringify(received)}`,
    hint: 'Check the spelling. A checkpoint has config.json, tokenizer.json and *.safetensors side by side.',
    data: { location: received },
  });
}
