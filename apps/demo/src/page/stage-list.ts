import type { KvlrEvent, StageName } from '@kvlr/core';
import { formatSeconds } from './format.ts';

type ShownStage = 'download' | Extract<StageName, 'statistics' | 'grouping' | 'factors' | 'recovery' | 'evaluation'>;

const titles: Readonly<Record<ShownStage, string>> = {
  download: 'Load the model',
  statistics: 'Watch its keys and values on sample text',
  grouping: 'Choose which heads share',
  factors: 'Merge them in closed form',
  recovery: 'Repair each layer against the original',
  evaluation: 'Evaluate both on held-out text',
};

interface Row {
  item: HTMLLIElement;
  detail: HTMLSpanElement;
  bar: HTMLProgressElement;
}

/** The steps of a compression with their progress, one line each. */
export class StageList {
  readonly #list: HTMLElement;
  readonly #announce: (message: string) => void;
  #rows = new Map<ShownStage, Row>();

  constructor(list: HTMLElement, announce: (message: string) => void) {
    this.#list = list;
    this.#announce = announce;
  }

  /** Shows all steps as yet to come. */
  begin(withRepair: boolean): void {
    const stages = (Object.keys(titles) as ShownStage[]).filter((stage) => stage !== 'recovery' || withRepair);
    this.#rows = new Map(stages.map((stage) => [stage, createRow(titles[stage])]));
    this.#list.replaceChildren(...[...this.#rows.values()].map(({ item }) => item));
    this.#list.hidden = false;
    this.#start('download');
  }

  showDownload(loadedBytes: number): void {
    const row = this.#rows.get('download');
    if (row) row.detail.textContent = `${(loadedBytes / 1e6).toFixed(1)} MB`;
  }

  show(event: KvlrEvent): void {
    if (event.type === 'stage-started') {
      if (event.stage === 'inspect') this.#finish('download');
      this.#start(event.stage);
    } else if (event.type === 'progress') {
      this.#advance(event);
    } else if (event.type === 'stage-finished') {
      this.#finish(event.stage, event.skipped ? 'kept from before' : formatSeconds(event.seconds));
    }
  }

  /** Takes the running step back, after a stop or a failure. */
  interrupt(): void {
    for (const { item, bar } of this.#rows.values()) {
      if (item.dataset.state === 'running') item.dataset.state = 'stopped';
      bar.hidden = true;
    }
  }

  #start(stage: string): void {
    const row = this.#rows.get(stage as ShownStage);
    if (row === undefined) return;
    row.item.dataset.state = 'running';
    row.bar.hidden = false;
    this.#announce(titles[stage as ShownStage]);
  }

  #advance({ stage, completed, total, unit, detail }: Extract<KvlrEvent, { type: 'progress' }>): void {
    const row = this.#rows.get(stage as ShownStage);
    if (row === undefined) return;
    row.bar.max = total;
    row.bar.value = completed;
    row.detail.textContent = stage === 'recovery' && detail ? detail : `${completed} of ${total} ${unit}`;
  }

  #finish(stage: string, detail?: string): void {
    const row = this.#rows.get(stage as ShownStage);
    if (row === undefined) return;
    row.item.dataset.state = 'done';
    row.bar.hidden = true;
    if (detail !== undefined) row.detail.textContent = detail;
  }
}

function createRow(title: string): Row {
  const item = document.createElement('li');
  const name = document.createElement('span');
  const detail = document.createElement('span');
  const bar = document.createElement('progress');
  item.dataset.state = 'waiting';
  name.textContent = title;
  detail.className = 'detail';
  bar.hidden = true;
  bar.setAttribute('aria-label', title);
  item.append(name, detail, bar);
  return { item, detail, bar };
}
