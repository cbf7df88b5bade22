import { KvlrError } from '@kvlr/core';
import type { CheckpointFiles } from './checkpoint-files.ts';

/** Reads a JSON file that holds an object. Throws 'file-missing' or 'file-malformed', naming the file. */
export async function readJsonObject(files: CheckpointFiles, name: string): Promise<Record<string, unknown>> {
  const text = new TextDecoder().decode(await files.read(name));
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw malformed(files.location, name, cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw malformed(files.location, name, Array.isArray(parsed) ? 'an array' : String(parsed));
  }
  return parsed as Record<string, unknown>;
}

function malformed(location: string, file: string, received: string, cause?: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `readJsonObject: ${file} (${location}): expected a JSON object, got ${received}`,
    hint: 'The file is damaged: download or write it again.',
    data: { location, file, received },
    cause,
  });
}
