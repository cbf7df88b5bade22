import { KvlrError } from '@kvlr/core';

/** What a text is for: statistics and reconstruction, or judgement. */
export type TextPurpose = 'calibration' | 'evaluation';

/** Cuts windows from a text; a 'text-too-short' error says which text of the run it is about, also in `data.purpose`. */
export function sayWhichText<Value>(purpose: TextPurpose, cut: () => Value): Value {
  try {
    return cut();
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.code !== 'text-too-short') throw error;
    throw new KvlrError('text-too-short', {
      message: `${purpose} text: ${error.message}`,
      hint: error.hint,
      data: { ...error.data, purpose },
      cause: error,
    });
  }
}
