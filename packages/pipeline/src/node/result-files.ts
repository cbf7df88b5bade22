import { readFile } from 'node:fs/promises';
import { type EvaluationResult, KvlrError } from '@kvlr/core';
import { fromHarnessJson, mergeResults, type NamedResult } from '@kvlr/evaluation';

/**
 * Results of `kvlr eval --part` as one, see `mergeResults`. What `kvlr merge` does with files.
 *
 * @throws KvlrError 'file-missing', 'file-malformed' for files that hold no result, and what `mergeResults` throws.
 */
export async function mergeResultFiles(files: readonly string[]): Promise<EvaluationResult> {
  const results: NamedResult[] = [];
  for (const file of files) results.push({ name: file, result: await readResult(file) });
  return mergeResults(results);
}

async function readResult(file: string): Promise<EvaluationResult> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new KvlrError('file-missing', { message: 'expected a file', where: { file }, data: { file }, cause });
  });
  try {
    return fromHarnessJson(JSON.parse(text));
  } catch (cause) {
    throw new KvlrError('file-malformed', {
      message: `expected a result of kvlr eval --json, got ${KvlrError.isInstance(cause) ? 'another one' : 'no JSON'}`,
      hint: 'Write it with kvlr eval --part 1/4 --json > part-1.json.',
      where: { file },
      data: { file },
      cause,
    });
  }
}
