import { KvlrError, type ModelSource, type RunControl } from '@kvlr/core';
import { type BackendRequest, selectBackend } from '@kvlr/runtime';
import { getBackend } from '@tensorflow/tfjs-core';

/** What every kind of training is given. */
export interface TrainingRequest extends RunControl {
  /** Default: the backend that is active, and 'auto' when none is. */
  backend?: BackendRequest['backend'];
  /** In browsers: where the .wasm files lie. */
  wasmPaths?: string;
  /**
   * On WebGPU a step is recorded once, its buffers and dispatches, and then run again, which takes the host far less time than one
   * operation after another and gives the same numbers. Default true; false is for comparisons.
   */
  recordSteps?: boolean;
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
  { windows, heldOutWindows }: Pick<TrainingRequest, 'windows' | 'heldOutWindows'>,
  atLeast = 1,
): void {
  for (const [name, list] of Object.entries({ windows, heldOutWindows })) {
    if (list.length > 0) continue;
    throw new KvlrError('text-too-short', {
      message: 'expected at least one window, got none',
      hint: 'Give more calibration text or shorter windows.',
      where: { argument: name },
      data: { name },
    });
  }
  const { length } = windows[0]!;
  const other = [...windows, ...heldOutWindows].find((window) => window.length !== length || length < atLeast);
  if (other === undefined) return;
  const shortest = atLeast > 1 ? ` of at least ${atLeast}` : '';
  throw new KvlrError('invalid-argument', {
    message: `expected windows of one length${shortest}, got ${length} and ${other.length} tokens`,
    where: { argument: 'windows' },
    data: { lengths: [length, other.length] },
  });
}

/** Throws 'tokenizer-mismatch' for an id that the model does not know. */
export function checkTokenIds(windows: readonly Int32Array[], vocabSize: number): void {
  for (const window of windows) {
    const foreign = window.find((id) => id < 0 || id >= vocabSize);
    if (foreign === undefined) continue;
    throw new KvlrError('tokenizer-mismatch', {
      message: `expected token ids from 0 to ${vocabSize - 1}, got ${foreign}`,
      hint: 'Encode the calibration text with the tokenizer of this model.',
      data: { vocabSize, received: foreign },
    });
  }
}

/** Starts the backend that is asked for, or any where none is active. */
export async function startBackend({
  backend,
  wasmPaths,
  onEvent,
}: Pick<TrainingRequest, 'backend' | 'wasmPaths' | 'onEvent'>): Promise<void> {
  if (backend !== undefined || !getBackend()) await selectBackend({ backend, wasmPaths, onEvent });
}
