import { type EventListener, type RunControl, type StageName, throwIfAborted } from '@kvlr/core';
import type { RunEnvironment } from '@kvlr/report';
import { addEfforts, type Effort } from '../store/effort.ts';
import { artefactNames, type RunStore } from '../store/run-store.ts';
import { Stopwatch } from './stopwatch.ts';

/** How long one stage took. */
export interface StageTime {
  stage: StageName;
  title: string;
  /** In this run. */
  seconds: number;
  /** In earlier runs, for what was taken over from them; null where they kept no record of it. */
  earlierSeconds: number | null;
  /** True when the artefact of an earlier run was used. */
  skipped: boolean;
}

/** What a stage gives back. */
export interface StageOutcome<Value> {
  value: Value;
  skipped?: boolean;
  /** What each artefact of earlier runs took that the stage went on from, or that stands for it. */
  takenOver?: readonly (Effort | undefined)[];
  /** A few words for people: what came out. */
  detail?: string;
}

/** What a run is told besides its inputs. */
export interface RunContextControl extends RunControl {
  /** What the report says of the machine; asked for when something is saved, and when the report is made. */
  environment?: (() => Partial<RunEnvironment>) | undefined;
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
  readonly #takenOver: (Effort | undefined)[] = [];

  constructor(
    readonly store: RunStore,
    private readonly control: RunContextControl,
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
    return new RunContext(store, { ...this.control, onEvent }, false);
  }

  /** Runs one stage between its events, and takes its time. */
  async stage<Value>(
    stage: StageName,
    title: string,
    work: (control: RunControl, watch: Stopwatch) => Promise<StageOutcome<Value>>,
  ): Promise<Value> {
    throwIfAborted(this.signal);
    this.onEvent({ type: 'stage-started', stage, title });
    const watch = new Stopwatch(() => this.control.environment?.().peakMemoryBytes);
    const control = { onEvent: this.onEvent, signal: this.signal };
    const { value, skipped = false, takenOver = [], detail } = await work(control, watch);
    const { seconds } = watch.total();
    const earlierSeconds = addEfforts(takenOver)?.seconds ?? null;
    this.#takenOver.push(...takenOver);
    this.stages.push({ stage, title, seconds, earlierSeconds, skipped });
    this.onEvent({ type: 'stage-finished', stage, seconds, skipped, detail });
    await this.#log;
    return value;
  }

  /** What all took that was taken over from earlier runs; undefined where one of them kept no record of it. */
  get earlier(): Effort | undefined {
    return addEfforts(this.#takenOver);
  }

  /**
   * What the report says of the machine. Its memory is the most that this run or one that it took work over from had; absent
   * where one of them kept no record.
   */
  environment(backend: string): RunEnvironment {
    const { peakMemoryBytes, ...described } = { backend, ...this.control.environment?.() };
    const peak = addEfforts([this.earlier, { seconds: 0, peakMemoryBytes }])?.peakMemoryBytes;
    return { ...described, ...(peak !== undefined && { peakMemoryBytes: peak }) };
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
