import { KvlrError } from '@kvlr/core';
import { checkTrainingWindows } from '../training-request.ts';
import type { DistillationRequest } from './distillation.ts';
import type { DistillationSettings } from './distillation-settings.ts';

/** Throws when the parts of a request do not fit together: see `distill`. */
export function checkDistillationRequest(request: DistillationRequest, settings: DistillationSettings): void {
  const { teacher, student, windows, heldOutWindows, checkpoint } = request;
  const { vocabSize, layers } = student.shape;
  if (teacher.shape.vocabSize !== vocabSize) {
    throw new KvlrError('invalid-argument', {
      message: `distill: expected a student with its teacher's vocabulary of ${teacher.shape.vocabSize}, got ${vocabSize}`,
      hint: 'Give the model that the student was compressed from as the teacher.',
      data: { name: 'vocabSize', teacher: teacher.shape.vocabSize, student: vocabSize },
    });
  }
  const native = layers.findIndex(({ keys, keySlots, valueSlots }) => keys !== 'stock' || keySlots !== valueSlots);
  if (settings.adapterRank > 0 && native >= 0) {
    throw new KvlrError('unsupported-feature', {
      message: `distill: expected stock grouped-query attention for adapters, got ${layers[native]!.keys} keys in layer ${native}`,
      hint: 'Set adapterRank to 0, which trains the matrices themselves in any layout.',
      data: { layer: native, keys: layers[native]!.keys },
    });
  }
  checkTrainingWindows('distill', request, 2);
  for (const window of [...windows, ...heldOutWindows]) {
    const foreign = window.find((id) => id < 0 || id >= vocabSize);
    if (foreign === undefined) continue;
    throw new KvlrError('tokenizer-mismatch', {
      message: `distill: expected token ids from 0 to ${vocabSize - 1}, got ${foreign}`,
      hint: 'Encode the calibration text with the tokenizer of this model.',
      data: { vocabSize, received: foreign },
    });
  }
  if (checkpoint === undefined || (checkpoint.step <= settings.steps && checkpoint.points.length > 0)) return;
  throw new KvlrError('run-mismatch', {
    message: `distill: expected a checkpoint of at most ${settings.steps} steps with its course, got ${checkpoint.step} steps and ${checkpoint.points.length} points`,
    hint: 'Start the distillation again without the checkpoint.',
    data: { steps: settings.steps, received: checkpoint.step },
  });
}
