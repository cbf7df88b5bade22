import type { CalibrationRequest } from '@kvlr/calibration';
import type { BlockInputs } from '@kvlr/compression';
import type { CacheDtype, CalibrationStatistics, KvlrErrorCode } from '@kvlr/core';
import type { BackendName } from '@kvlr/runtime';
import type { LayerQuestion } from '../grouping/layer-question.ts';
import type { SharedModel } from './shared-model.ts';

/** What a worker is asked to do, and what it answers. Every model has a number, given by the side that asks. */
export interface WorkerTasks {
  load: {
    ask: { model: number; source: SharedModel; backend: BackendName; cacheDtype: CacheDtype | undefined };
    answer: undefined;
  };
  logits: { ask: { model: number; tokenIds: Int32Array }; answer: Float32Array };
  statistics: {
    ask: { model: number } & Pick<CalibrationRequest, 'windows' | 'provenance'>;
    answer: CalibrationStatistics;
  };
  groups: { ask: GroupingTask; answer: number[][] };
  dispose: { ask: { model: number }; answer: undefined };
}

/** Which heads of a layer share one, by strategy and method of these names. */
export interface GroupingTask {
  strategy: string;
  question: LayerQuestion;
  /** Present for strategies that measure. */
  measurement: { method: string; inputs: BlockInputs } | undefined;
}

export type WorkerTaskName = keyof WorkerTasks;

/** A question on its way to a worker. */
export type WorkerQuestion = {
  [Name in WorkerTaskName]: { id: number; task: Name; ask: WorkerTasks[Name]['ask'] };
}[WorkerTaskName];

/** A worker's answer, or the error it met, in a form that crosses threads. */
export type WorkerAnswer = { id: number; answer: unknown } | { id: number; error: WorkerFailure };

export interface WorkerFailure {
  message: string;
  /** Present when it was a KvlrError. */
  code?: KvlrErrorCode;
  hint?: string;
  data?: Record<string, unknown>;
}
