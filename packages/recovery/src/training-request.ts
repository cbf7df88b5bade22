import { KvlrError, type ModelSource, type RunControl } from '@kvlr/core';
import type { BackendRequest } from '@kvlr/runtime';

/** What every kind of training is given. */
export interface TrainingRequest extends RunControl {
  /** Default: the backend that is active, and 'auto' when none is. */
  backend?: BackendRequest['backend'];
  /** In browsers: where the .wasm files lie. */
  wasmPaths?: string;
  /** The original model. */
  teacher: ModelSource;
  /** The compressed model: same stream, same vocabulary, same feed-forward blocks, its own attention. */
  student: ModelSource;
  /** Token ids of calibration windows, all of one length. */
  windows: Int32Array[];
  /** Windows of other calibration text, of the same length, that decide which values are taken and when to stop. */
  heldOutWindows: Int32Array[];
}

/** Throws 'text-too-short' without windows of both kinds, 'invalid-argument' unless all are of one length, from `atLeast`. */
export function checkTrainingWindows(
  caller: string,
  { windows, heldOutWindows }: Pick<TrainingRequest, 'windows' | 'heldOutWindows'>,
  atLeast = 1,
): void {
  for (const [name, list] of Object.entries({ windows, heldOutWindows })) {
    if (list.length > 0) continue;
    throw new KvlrError('text-too-short', {
      message: `${caller}: expected at least one window in ${name}, got none`,
      hint: 'Give more calibration text or shorter windows.',
      data: { name },
    });
  }
  const { length } = windows[0]!;
  const other = [...windows, ...heldOutWindows].find((window) => window.length !== length || length < atLeast);
  if (other === undefined) return;
  const shortest = atLeast > 1 ? ` of at least ${atLeast}` : '';
  throw new KvlrError('invalid-argument', {
    message: `${caller}: expected windows of one length${shortest}, got ${length} and ${other.length} tokens`,
    data: { lengths: [length, other.length] },
  });
}
