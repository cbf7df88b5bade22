import type { CalibrationStatistics, LogitSource, ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { EvaluationWindow } from '@kvlr/evaluation';
import type { RecordedInputs } from '../calibration/record-block-inputs.ts';
import type { ModelRunner } from '../models/model-runner.ts';
import type { GroupingChoice, MethodChoice } from '../run/plugin-choices.ts';
import type { ModelWorkers } from '../workers/model-workers.ts';
import type { Candidate } from './candidate.ts';

/** One candidate, and what all candidates of a comparison share. */
export interface CandidateRequest {
  candidate: Candidate;
  model: ModelSource;
  recipe: Recipe;
  grouping: GroupingChoice | undefined;
  ownMethods: ReadonlyMap<string, MethodChoice> | undefined;
  statistics: CalibrationStatistics;
  runner: ModelRunner;
  baseLogits: LogitSource;
  windows: readonly EvaluationWindow[];
  bytesPerElement: number;
  calibrationIds: () => Promise<Int32Array>;
  blockInputs: RecordedInputs;
  workers: ModelWorkers | undefined;
  inputs: { modelId: string; calibrationHash: string; evaluationHash: string };
}
