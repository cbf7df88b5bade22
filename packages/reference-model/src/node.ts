import { fileURLToPath } from 'node:url';
import { referenceTexts } from './index.ts';

/** Path of the embedded checkpoint's directory, for everything that opens a Hugging Face directory. */
export const referenceModelDirectory: string = fileURLToPath(new URL('../model', import.meta.url));

/** Paths of the embedded texts (jsonl). */
export const referenceTextPaths = {
  calibration: fileURLToPath(referenceTexts.calibration),
  validation: fileURLToPath(referenceTexts.validation),
} as const;

/** Path of the directory of the embedded tasks: YAML files in the form of lm-evaluation-harness, and their data (jsonl). */
export const referenceTaskDirectory: string = fileURLToPath(new URL('../tasks', import.meta.url));
