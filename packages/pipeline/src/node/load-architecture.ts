import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { ArchitectureDescriptor } from '@kvlr/checkpoint';
import { architectureFromJson } from '@kvlr/checkpoint/schemas';
import { KvlrError } from '@kvlr/core';

/**
 * Reads a model family from a JSON file, for the `architectures` of `openCheckpoint`.
 *
 * @throws KvlrError 'file-missing', or 'plugin-invalid', naming the file and the field.
 */
export async function loadArchitecture(path: string): Promise<ArchitectureDescriptor> {
  const file = resolve(path);
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: 'expected a description of a model family, found no file',
      hint: 'Give the path of a JSON file such as examples/architectures/renamed.json.',
      where: { file },
      cause,
    });
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new KvlrError('plugin-invalid', {
      message: `expected JSON, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'Correct the file.',
      where: { file },
      cause,
    });
  }
  return architectureFromJson(json, path);
}
