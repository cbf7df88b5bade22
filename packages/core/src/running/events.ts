/** Names of the pipeline's stages, in the order in which they run. */
export type StageName =
  | 'inspect'
  | 'statistics'
  | 'budget'
  | 'grouping'
  | 'factors'
  | 'recovery'
  | 'evaluation'
  | 'report'
  | 'write';

/** What libraries emit while they work. Only apps draw. */
export type KvlrEvent =
  | { type: 'stage-started'; stage: StageName; title: string }
  | { type: 'progress'; stage: StageName; completed: number; total: number; unit: string; detail?: string }
  | { type: 'stage-finished'; stage: StageName; seconds: number; skipped: boolean; detail?: string }
  | { type: 'note'; message: string; data?: Record<string, unknown> }
  | { type: 'warning'; message: string; data?: Record<string, unknown> };

export type EventListener = (event: KvlrEvent) => void;

/** What every long-running function of kvlr accepts. */
export interface RunControl {
  onEvent?: EventListener;
  signal?: AbortSignal;
}
