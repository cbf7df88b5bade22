import type { LayerHistory } from '@kvlr/recovery';
import type { RunContext } from '../run/run-context.ts';
import { type Distillation, distillStudent } from './distill-student.ts';
import { type ReconstructRequest, reconstruct } from './reconstruct.ts';

export interface Recovery extends Distillation {
  history: LayerHistory[];
}

/** Stage 5: whatever the recipe asks for behind the closed forms, layer by layer and then end to end. */
export async function recoverStudent(context: RunContext, request: ReconstructRequest): Promise<Recovery> {
  const { model, history } = await reconstruct(context, request);
  return { history, ...(await distillStudent(context, { ...request, student: model })) };
}
