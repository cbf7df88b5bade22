import type { LossRequest } from './backpropagate.ts';
import type { DistillationPoint } from './distillation.ts';
import { readoutSums } from './readout.ts';
import { lastStream } from './run-streams.ts';

export type HeldOutLosses = Pick<DistillationPoint, 'heldOutLoss' | 'heldOutDivergence' | 'heldOutNextToken'>;

/** The losses of the student as it is now on windows that it is not trained on, one window after another. */
export async function heldOutLosses(request: LossRequest, windows: readonly Int32Array[]): Promise<HeldOutLosses> {
  const { teacher, student, nextTokenShare, context, signal } = request;
  const totals = { divergence: 0, nextToken: 0 };
  for (const window of windows) {
    const teacherStream = await lastStream(teacher, [window], { context, signal });
    try {
      const studentStream = await lastStream(student, [window], request);
      const sums = readoutSums({ ...request, teacherStream, studentStream, windows: [window] });
      studentStream.dispose();
      for (const part of ['divergence', 'nextToken'] as const) {
        totals[part] += (await sums[part].data())[0]!;
        sums[part].dispose();
      }
    } finally {
      teacherStream.dispose();
    }
  }
  const rows = windows.length * windows[0]!.length;
  const heldOutDivergence = totals.divergence / rows;
  const heldOutNextToken = totals.nextToken / (rows - windows.length);
  const heldOutLoss = (1 - nextTokenShare) * heldOutDivergence + nextTokenShare * heldOutNextToken;
  return { heldOutLoss, heldOutDivergence, heldOutNextToken };
}
