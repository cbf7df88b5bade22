import { readFile, stat } from 'node:fs/promises';
import { readTextFiles, requireTextSize, type TextDocument } from '@kvlr/calibration';
import { KvlrError } from '@kvlr/core';
import type { RunTexts } from '@kvlr/pipeline';
import { referenceTextPaths } from '@kvlr/reference-model/node';

/** The options that name texts. Without them the embedded ones are used. */
export interface TextOptions {
  calibration?: string[];
  evalText?: string[];
}

/** Reads the texts to calibrate on. */
export function loadCalibrationTexts({ calibration }: TextOptions): Promise<TextDocument[]> {
  return loadTexts(calibration ?? [referenceTextPaths.calibration]);
}

/** Reads the texts to evaluate on. */
export function loadEvaluationTexts({ evalText }: TextOptions): Promise<TextDocument[]> {
  return loadTexts(evalText ?? [referenceTextPaths.validation]);
}

/** Reads both. */
export async function loadRunTexts(options: TextOptions): Promise<RunTexts> {
  return { calibration: await loadCalibrationTexts(options), evaluation: await loadEvaluationTexts(options) };
}

/** Does work on texts; an error about a text that is too short names the files it was read from. */
export async function nameTextFiles<Value>(options: TextOptions, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.code !== 'text-too-short') throw error;
    const files = error.data.purpose === 'calibration' ? options.calibration : options.evalText;
    throw error.with({ file: files?.join(', ') ?? 'embedded' });
  }
}

async function loadTexts(paths: readonly string[]): Promise<TextDocument[]> {
  return readTextFiles(await Promise.all(paths.map(async (name) => ({ name, bytes: await readBytes(name) }))));
}

async function readBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    requireTextSize(path, (await stat(path)).size);
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw new KvlrError('file-missing', {
      message: `expected a text file, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'Name files of text that exist, or leave the option out to use the embedded texts.',
      where: { file: path },
      cause,
    });
  }
}
