import type { CalibrationRequest } from '@kvlr/calibration';
import type { CacheDtype, CalibrationStatistics, LogitSource, ModelSource } from '@kvlr/core';
import type { BackendName } from '@kvlr/runtime';
import type { GroupingTask } from './messages.ts';

/** Port: processors that run windows of a model side by side. `createWorkerPool` of `@kvlr/pipeline/node` is one. */
export interface ModelWorkers {
  readonly count: number;
  /** Puts a model on every worker; `cacheDtype` as in `windowSettings`. The caller disposes it. */
  load(source: ModelSource, backend: BackendName, cacheDtype?: CacheDtype): Promise<ModelInWorkers>;
  /** Groups of one layer, on one worker. */
  group(task: GroupingTask): Promise<number[][]>;
}

/** A model that lies on every worker: as many windows run at once. */
export interface ModelInWorkers extends LogitSource {
  /** Statistics of these windows, gathered on one worker. */
  collectStatistics(request: Pick<CalibrationRequest, 'windows' | 'provenance'>): Promise<CalibrationStatistics>;
  dispose(): void;
}
