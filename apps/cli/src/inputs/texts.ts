import { readFile } from 'node:fs/promises';
import { readTexts, type TextDocument } from '@kvlr/calibration';
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
  return readTexts(await Promise.all(paths.map(async (name) => ({ name, text: await readText(name) }))));
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new KvlrError('file-missing', {
      message: `expected a text file, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'Name .txt or .jsonl files that exist, or leave the option out to use the embedded texts.',
      where: { file: path },
      cause,
    });
  }
}
