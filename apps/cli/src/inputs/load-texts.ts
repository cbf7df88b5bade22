import { readFile } from 'node:fs/promises';
import { readTexts, type TextDocument } from '@kvlr/calibration';
import { KvlrError } from '@kvlr/core';
import { referenceTextPaths } from '@kvlr/reference-model/node';

/** Reads the calibration texts that were named, or the embedded ones. */
export function loadCalibrationTexts(paths: readonly string[] | undefined): Promise<TextDocument[]> {
  return loadTexts(paths ?? [referenceTextPaths.calibration]);
}

/** Reads the texts to judge on that were named, or the embedded ones. */
export function loadEvaluationTexts(paths: readonly string[] | undefined): Promise<TextDocument[]> {
  return loadTexts(paths ?? [referenceTextPaths.validation]);
}

async function loadTexts(paths: readonly string[]): Promise<TextDocument[]> {
  return readTexts(await Promise.all(paths.map(async (name) => ({ name, text: await readText(name) }))));
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new KvlrError('file-missing', {
      message: `loadTexts: expected a text file at ${path}, got: ${cause instanceof Error ? cause.message : cause}`,
      remedy: 'Name .txt or .jsonl files that exist, or leave the option out to use the embedded texts.',
      data: { file: path },
      cause,
    });
  }
}
