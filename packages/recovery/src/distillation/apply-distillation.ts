import type { ModelSource } from '@kvlr/core';
import { overlayTrained } from '../overlay-trained.ts';
import type { DistillationResult } from './distillation.ts';

/** The student with its attention replaced by what distillation found. */
export function applyDistillation(student: ModelSource, { tensors }: Pick<DistillationResult, 'tensors'>): ModelSource {
  return overlayTrained(student, tensors);
}
