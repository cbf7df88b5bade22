import { KvlrError, type ModelSource } from '@kvlr/core';
import type { ModelParts } from './engine.ts';
import { inTurns } from './in-turns.ts';
import { type LoadedPart, passGroup } from './window-stream.ts';
import type { ModelWorkers } from './workers.ts';

/** Windows that a GPU has at once: it computes one while others are read. */
export const windowsOnDevice = 3;

/** A part of a model on the device of this thread. */
export async function loadHere(
  decoder: ModelParts,
  source: ModelSource,
  part: number | 'head',
  helpers: ModelWorkers | undefined,
): Promise<LoadedPart> {
  const unasked = async (): Promise<never> => {
    throw new KvlrError('invalid-argument', {
      message: 'expected windows to be passed through a layer, or read out by the head.',
    });
  };
  if (part === 'head') {
    const { logits, dispose } = await decoder.loadHead();
    return { concurrency: 1, pass: unasked, logits, dispose };
  }
  const layer = await decoder.loadLayer(part);
  if (helpers === undefined) {
    return {
      concurrency: 1,
      pass: (request) => passGroup(layer, source, part, request),
      logits: unasked,
      dispose: () => layer.dispose(),
    };
  }
  const turn = inTurns(windowsOnDevice);
  const inTurn = { ...layer, pass: (...asked: Parameters<typeof layer.pass>) => turn(() => layer.pass(...asked)) };
  return {
    // Every thread has a group, and the device the next one.
    concurrency: helpers.count + 1,
    pass: (request) => passGroup(inTurn, source, part, request, helpers.gatherMoments),
    logits: unasked,
    dispose: () => layer.dispose(),
  };
}
