import { KvlrError } from '@kvlr/core';
import type { ReconstructionRequest } from './reconstruction.ts';
import { checkTrainingWindows } from './training-request.ts';

/** Throws 'invalid-argument' or 'text-too-short' when the parts of a request do not fit together. */
export function checkReconstructionRequest(request: ReconstructionRequest): void {
  const { teacher, student, completedLayers = [] } = request;
  for (const name of ['numLayers', 'hiddenSize', 'numAttentionHeads', 'headDim'] as const) {
    if (teacher.shape[name] === student.shape[name]) continue;
    throw new KvlrError('invalid-argument', {
      message: `reconstructBlocks: expected a student with ${name} ${teacher.shape[name]} like its teacher, got ${student.shape[name]}`,
      hint: 'Give the model that the student was compressed from as the teacher.',
      data: { name, teacher: teacher.shape[name], student: student.shape[name] },
    });
  }
  checkTrainingWindows('reconstructBlocks', request);
  completedLayers.forEach(({ layer }, index) => {
    if (layer === index && index < student.shape.numLayers) return;
    throw new KvlrError('run-mismatch', {
      message: `reconstructBlocks: expected completed layers 0, 1, ... in order, got layer ${layer} in place ${index}`,
      hint: 'Start the reconstruction again without the saved layers.',
      data: { layer, index },
    });
  });
}
