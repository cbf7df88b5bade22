import { type EventListener, type RunControl, type StageName, throwIfAborted } from '@kvlr/core';
import { artefactNames, type RunStore } from '../store/run-store.ts';

/** How long one stage took. */
export interface StageTime {
  stage: StageName;
  title: string;
  seconds: number;
  /** True when the artefact of an earlier run was used. */
  skipped: boolean;
}

/** What a stage gives back. */
export interface StageOutcome<Value> {
  value: Value;
  skipped?: boolean;
  /** A few words for people: what came out. */
  detail?: string;
}

/** One run: where it keeps things, whom it tells, and how long its stages took. */
export class RunContext {
  readonly stages: StageTime[] = [];
  readonly warnings: string[] = [];
  readonly onEvent: EventListener;
  readonly signal: AbortSignal | undefined;
  #log: Promise<void> = Promise.resolve();

  constructor(
    readonly store: RunStore,
    control: RunControl,
    keepsLog = true,
  ) {
    this.signal = control.signal;
    this.onEvent = (event) => {
      if (event.type === 'warning') this.warnings.push(event.message);
      if (keepsLog && event.type !== 'progress') {
        const line = JSON.stringify({ time: new Date().toISOString(), ...event });
        this.#log = this.#log.then(() => store.appendLine(artefactNames.events, line));
        // The failure is thrown where the log is awaited, at the end of the stage.
        this.#log.catch(() => {});
      }
      control.onEvent?.(event);
    };
  }

  /** A run inside a stage of this one: its stages are not announced, only their progress and warnings. */
  part(store: RunStore): RunContext {
    const onEvent: EventListener = (event) => {
      if (event.type === 'progress' || event.type === 'warning') this.onEvent(event);
    };
    return new RunContext(store, { onEvent, signal: this.signal }, false);
  }

  /** Runs one stage between its events, and takes its time. */
  async stage<Value>(
    stage: StageName,
    title: string,
    work: (control: RunControl) => Promise<StageOutcome<Value>>,
  ): Promise<Value> {
    throwIfAborted(this.signal);
    this.onEvent({ type: 'stage-started', stage, title });
    const started = performance.now();
    const { value, skipped = false, detail } = await work({ onEvent: this.onEvent, signal: this.signal });
    const seconds = (performance.now() - started) / 1000;
    this.stages.push({ stage, title, seconds, skipped });
    this.onEvent({ type: 'stage-finished', stage, seconds, skipped, detail });
    await this.#log;
    return value;
  }
}
