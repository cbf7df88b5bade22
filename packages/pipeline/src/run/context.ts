import { type EventListener, KvlrError, type RunControl, type StageName, throwIfAborted } from '@kvlr/core';
import type { RunEnvironment } from '@kvlr/report';
import { type Artefact, addEfforts, type Effort, type Kept } from './artefact.ts';
import { artefactNames, type RunStore } from './store.ts';

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

/** What a run is told besides its inputs. */
export interface RunContextControl extends RunControl {
  /** What the report says of the machine; asked for when something is saved, and when the report is made. */
  environment?: (() => Partial<RunEnvironment>) | undefined;
  /** Throws where the model is no longer what it was when the run began; asked before anything is kept that was made from it. */
  checkSource?: (() => Promise<void>) | undefined;
}

/** A stage whose outcome is one artefact. */
export interface CachedStage<Value> extends Artefact<Value> {
  stage: StageName;
  title: string;
  /** A few words for people: what came out. */
  detail?: (value: Value) => string;
  /** Name of an artefact that is of no use once this one is saved: a checkpoint of the work. */
  replaces?: string;
}

/** A stage whose outcome is one artefact for each layer. `name` is that of the folder they lie in, with '/' at its end. */
export interface LayeredStage<Value> extends Artefact<Value> {
  stage: StageName;
  title: string;
  numLayers: number;
  /** A few words for people: what came out of the last layer. */
  detail?: (last: Value) => string;
}

/** Reads what a stage kept of a layer. */
export type ReadLayer<Value> = (layer: number) => Promise<Value>;

/** The layer that was read last is read from memory. */
export function recentLayer<Value>(read: ReadLayer<Value>): ReadLayer<Value> {
  let recent: { layer: number; value: Promise<Value> } | undefined;
  return (layer) => {
    if (recent?.layer !== layer) {
      const reading = { layer, value: read(layer) };
      recent = reading;
      // What failed is not remembered.
      reading.value.catch(() => {
        if (recent === reading) recent = undefined;
      });
    }
    return recent.value;
  };
}

/** Name of the artefact of one layer in a folder of such. */
export function layerArtefactName(folder: string, layer: number): string {
  return `${folder}layer-${String(layer).padStart(3, '0')}.safetensors`;
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
    readonly control: RunContextControl,
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

  /**
   * A stage as a cached function: gives back what an earlier run kept under this key, else computes and keeps it. Time and memory are
   * booked, of this run and of those it takes work over from.
   */
  cached<Value>(request: CachedStage<Value>, compute: (stage: Stage) => Promise<Value>): Promise<Value> {
    return this.stage(request.stage, request.title, async (stage) => {
      const kept = await stage.load(request);
      stage.skipped = kept !== undefined;
      const value = kept ? kept.value : await compute(stage);
      if (!kept) {
        await stage.save(request, value);
        if (request.replaces !== undefined) await this.store.remove(request.replaces);
      }
      stage.detail = request.detail?.(value);
      return value;
    });
  }

  /**
   * The same for a stage that goes from layer to layer: each layer is kept when it is done and let go, so that memory does not grow with
   * their number and a run that was cut goes on with the next one.
   *
   * @param compute Makes the layers that are not there yet, in order; told which is the first.
   * @returns Reads a layer again, the one that was read last from memory.
   */
  async cachedLayers<Value>(
    request: LayeredStage<Value>,
    compute: (stage: Stage, from: number, keep: (value: Value) => Promise<void>) => Promise<void>,
  ): Promise<ReadLayer<Value>> {
    const { name, key, codec, numLayers } = request;
    const artefact = (layer: number) => ({ name: layerArtefactName(name, layer), key, codec });
    await this.stage(request.stage, request.title, async (stage) => {
      let done = 0;
      let last: Value | undefined;
      for (let kept = await stage.load(artefact(0)); kept !== undefined; kept = await stage.load(artefact(done))) {
        last = kept.value;
        done += 1;
        if (done === numLayers) break;
      }
      stage.skipped = done === numLayers;
      if (!stage.skipped) {
        await compute(stage, done, async (value) => {
          last = value;
          await stage.savePiece(artefact(done), value);
          done += 1;
          stage.progress(done, numLayers, 'layers');
        });
      }
      stage.detail = last && request.detail?.(last);
    });
    return recentLayer((layer) => this.readAgain(artefact(layer)));
  }

  /** Reads what this run kept. Throws 'file-missing' where it is not there any more. */
  async readAgain<Value>({ name, key, codec }: Artefact<Value>): Promise<Value> {
    const bytes = await this.store.read(name);
    const kept = bytes && (await codec.decode(bytes, key));
    if (kept) return kept.value;
    throw new KvlrError('file-missing', {
      message: 'expected what the run kept before, found none of it or something else',
      hint: 'Leave the run directory alone while a run goes on, and start it again.',
      where: { file: name },
    });
  }

  /** Runs one stage between its events, and takes its time. */
  async stage<Value>(name: StageName, title: string, work: (stage: Stage) => Promise<Value>): Promise<Value> {
    throwIfAborted(this.signal);
    this.onEvent({ type: 'stage-started', stage: name, title });
    const stage = new Stage(name, this, () => this.control.environment?.().peakMemoryBytes);
    const value = await work(stage);
    const { seconds } = stage.spent();
    const { skipped, detail, takenOver } = stage;
    const earlierSeconds = addEfforts(takenOver)?.seconds ?? null;
    this.#takenOver.push(...takenOver);
    this.stages.push({ stage: name, title, seconds, earlierSeconds, skipped });
    this.onEvent({ type: 'stage-finished', stage: name, seconds, skipped, detail });
    await this.#log;
    return value;
  }

  /** What all took that was taken over from earlier runs; undefined where one of them kept no record of it. */
  get earlier(): Effort | undefined {
    return addEfforts(this.#takenOver);
  }

  /** Seconds of all stages so far, in this run and in those it took work over from; undefined where that is not known. */
  get seconds(): number | undefined {
    const { earlier } = this;
    return earlier && this.stages.reduce((sum, stage) => sum + stage.seconds, earlier.seconds);
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

/** What the work of one stage is given: whom it tells, where its pieces are kept, and the clock that books them. */
export class Stage {
  /** True when there was nothing left to do. */
  skipped = false;
  /** A few words for people: what came out. */
  detail: string | undefined;
  readonly takenOver: (Effort | undefined)[] = [];
  readonly #started = performance.now();
  #lapStarted = this.#started;

  constructor(
    private readonly name: StageName,
    private readonly context: Pick<RunContext, 'store' | 'onEvent' | 'signal' | 'control'>,
    private readonly peakMemoryBytes: () => number | undefined,
  ) {}

  /** For functions that report and can be stopped. */
  get control(): RunControl {
    const { onEvent, signal } = this.context;
    return { onEvent, signal };
  }

  /** A control for one of several equal parts of the stage: its progress counts on where the part before it ended. */
  part(part: number, parts: number): RunControl {
    const { onEvent, signal } = this.context;
    return {
      signal,
      onEvent: (event) => {
        if (event.type !== 'progress') return onEvent(event);
        onEvent({ ...event, completed: part * event.total + event.completed, total: parts * event.total });
      },
    };
  }

  progress(completed: number, total: number, unit: string): void {
    this.context.onEvent({ type: 'progress', stage: this.name, completed, total, unit });
  }

  /** What an earlier run kept of this artefact, and books what it took. */
  async load<Value>({ name, key, codec }: Artefact<Value>): Promise<Kept<Value> | undefined> {
    const bytes = await this.context.store.read(name);
    const kept = bytes && (await codec.decode(bytes, key));
    if (kept) this.takenOver.push(kept.effort);
    return kept;
  }

  /** Keeps an artefact that holds all work of the stage so far, what it took over included. */
  async save<Value>({ name, key, codec }: Artefact<Value>, value: Value): Promise<void> {
    await this.context.control.checkSource?.();
    const effort = addEfforts([...this.takenOver, this.spent()]);
    await this.context.store.write(name, await codec.encode(value, { key, effort }));
  }

  /** Keeps one of several artefacts, which holds the work since the one before it. */
  async savePiece<Value>({ name, key, codec }: Artefact<Value>, value: Value): Promise<void> {
    await this.context.control.checkSource?.();
    const effort = this.#since(this.#lapStarted);
    this.#lapStarted = performance.now();
    await this.context.store.write(name, await codec.encode(value, { key, effort }));
  }

  /** Since the stage began. */
  spent(): Effort {
    return this.#since(this.#started);
  }

  #since(moment: number): Effort {
    return { seconds: (performance.now() - moment) / 1000, peakMemoryBytes: this.peakMemoryBytes() };
  }
}
