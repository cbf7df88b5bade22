/**
 * The embedded texts, one JSON document a line: {"source", "text"}. Statistics and block reconstruction use `calibration`,
 * judgement uses `validation`; they have no document in common.
 */
export const referenceTexts = {
  calibration: new URL('../texts/calibration.jsonl', import.meta.url),
  validation: new URL('../texts/validation.jsonl', import.meta.url),
} as const;

/** Name of one of the embedded texts. */
export type ReferenceText = keyof typeof referenceTexts;
