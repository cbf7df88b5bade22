import { type EventListener, type RunControl, type StageName, throwIfAborted } from '@kvlr/core';
import { artefactNames, type RunStore } from '../store/run-store.ts';

/** How long one stage took. */
export interface StageTime {
  stage: StageName;
  title: string;
  seconds: number;
  /** True when the artefact of an earlier run was used. */
  skipped: boolean;
  /** True when an earlier run had done a part of it or all: `seconds` is then less than the stage takes. */
  resumed: boolean;
}

/** What a stage gives back. */
export interface StageOutcome<Value> {
  value: Value;
  skipped?: boolean;
  /** True when it went on from where an earlier run was cut. */
  resumed?: boolean;
  /** A few words for people: what came out. */
  detail?: string;
}

/** One run: where it keeps things, whom it tells, and how long its stages took. */
export class RunContext {
  readonly stages: StageTime[] = [];
  readonly warnings: string[] = [];
  readonly onEvent: EventListener;
  readonly signal: AbortSignal | undefined;
  /** Lines that wait for `beginLog`; undefined when no log is kept. */
  #waiting: string[] | undefined;
  #log: Promise<void> | undefined;

  constructor(
    readonly store: RunStore,
    control: RunControl,
    keepsLog = true,
  ) {
    this.#waiting = keepsLog ? [] : undefined;
    this.signal = control.signal;
    this.onEvent = (event) => {
      if (event.type === 'warning') this.warnings.push(event.message);
      if (event.type !== 'progress') this.#record(JSON.stringify({ time: new Date().toISOString(), ...event }));
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
    const {
      value,
      skipped = false,
      resumed = skipped,
      detail,
    } = await work({ onEvent: this.onEvent, signal: this.signal });
    const seconds = (performance.now() - started) / 1000;
    this.stages.push({ stage, title, seconds, skipped, resumed });
    this.onEvent({ type: 'stage-finished', stage, seconds, skipped, detail });
    await this.#log;
    return value;
  }

  /** Starts to write the log, and all that has waited for it: a run that is refused leaves nothing in its store. */
  async beginLog(): Promise<void> {
    const lines = this.#waiting ?? [];
    this.#log = Promise.resolve();
    for (const line of lines) this.#record(line);
    await this.#log;
  }

  #record(line: string): void {
    if (this.#log === undefined) {
      this.#waiting?.push(line);
      return;
    }
    this.#log = this.#log.then(() => this.store.appendLine(artefactNames.events, line));
    // The failure is thrown where the log is awaited, at the end of the stage.
    this.#log.catch(() => {});
  }
}
