import { KvlrError } from '@kvlr/core';
import type { ReconstructionRequest } from './reconstruction.ts';

/** Throws 'invalid-argument' or 'text-too-short' when the parts of a request do not fit together. */
export function checkReconstructionRequest(request: ReconstructionRequest): void {
  const { teacher, student, windows, heldOutWindows, completedLayers = [] } = request;
  for (const name of ['numLayers', 'hiddenSize', 'numAttentionHeads', 'headDim'] as const) {
    if (teacher.shape[name] === student.shape[name]) continue;
    throw new KvlrError('invalid-argument', {
      message: `reconstructBlocks: expected a student with ${name} ${teacher.shape[name]} like its teacher, got ${student.shape[name]}`,
      remedy: 'Give the model that the student was compressed from as the teacher.',
      data: { name, teacher: teacher.shape[name], student: student.shape[name] },
    });
  }
  for (const [name, list] of Object.entries({ windows, heldOutWindows })) {
    if (list.length > 0) continue;
    throw new KvlrError('text-too-short', {
      message: `reconstructBlocks: expected at least one window in ${name}, got none`,
      remedy: 'Give more calibration text or shorter windows.',
      data: { name },
    });
  }
  const length = windows[0]!.length;
  const other = [...windows, ...heldOutWindows].find((window) => window.length !== length);
  if (other !== undefined) {
    throw new KvlrError('invalid-argument', {
      message: `reconstructBlocks: expected windows of one length, got ${length} and ${other.length} tokens`,
      data: { lengths: [length, other.length] },
    });
  }
  completedLayers.forEach(({ layer }, index) => {
    if (layer === index && index < student.shape.numLayers) return;
    throw new KvlrError('run-mismatch', {
      message: `reconstructBlocks: expected completed layers 0, 1, ... in order, got layer ${layer} in place ${index}`,
      remedy: 'Start the reconstruction again without the saved layers.',
      data: { layer, index },
    });
  });
}
