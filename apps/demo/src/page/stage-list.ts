import type { KvlrEvent, StageName } from '@kvlr/core';
import { formatDuration } from '@kvlr/report';
import { element, html } from './elements.ts';

type ShownStage = Extract<StageName, 'inspect' | 'statistics' | 'grouping' | 'factors' | 'recovery' | 'evaluation'>;

const titles: Readonly<Record<ShownStage, string>> = {
  inspect: 'Read model and text',
  statistics: 'Watch its keys and values on sample text',
  grouping: 'Choose which heads share',
  factors: 'Merge them in closed form',
  recovery: 'Bring each layer back to the original',
  evaluation: 'Evaluate both on held-out text',
};

interface Row {
  item: HTMLLIElement;
  detail: HTMLSpanElement;
  bar: HTMLProgressElement;
  started: number;
}

/** Steps shorter than this need no forecast, seconds. */
const worthTelling = 3;

/** The steps of a compression with their progress and the time that is left of each, one line each. */
export class StageList {
  readonly #list = element('#stages');
  readonly #announce: (message: string) => void;
  #rows = new Map<string, Row>();

  constructor(announce: (message: string) => void) {
    this.#announce = announce;
  }

  /** Shows all steps as yet to come. */
  begin(withRepair: boolean): void {
    const stages = (Object.keys(titles) as ShownStage[]).filter((stage) => stage !== 'recovery' || withRepair);
    this.#rows = new Map(stages.map((stage) => [stage, createRow(titles[stage])]));
    this.#list.replaceChildren(...[...this.#rows.values()].map(({ item }) => item));
    this.#list.hidden = false;
    this.#start('inspect');
  }

  show(event: KvlrEvent): void {
    if (event.type === 'stage-started') this.#start(event.stage);
    else if (event.type === 'progress') this.#advance(event);
    else if (event.type === 'stage-finished') {
      this.#finish(event.stage, event.skipped ? 'kept from before' : formatDuration(event.seconds));
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
    const row = this.#rows.get(stage);
    if (row === undefined || row.item.dataset.state === 'running') return;
    row.item.dataset.state = 'running';
    row.bar.hidden = false;
    row.started = performance.now();
    this.#announce(titles[stage as ShownStage]);
  }

  #advance({ stage, completed, total, unit, detail }: Extract<KvlrEvent, { type: 'progress' }>): void {
    const row = this.#rows.get(stage);
    if (row === undefined) return;
    row.bar.max = total;
    row.bar.value = completed;
    const elapsed = (performance.now() - row.started) / 1000;
    const left = completed > 0 ? (elapsed * (total - completed)) / completed : 0;
    const forecast =
      elapsed + left > worthTelling && completed > 0 && left > 0.5 ? `, ${formatDuration(left)} left` : '';
    row.detail.textContent = (stage === 'recovery' && detail ? detail : `${completed} of ${total} ${unit}`) + forecast;
  }

  #finish(stage: string, detail: string): void {
    const row = this.#rows.get(stage);
    if (row === undefined) return;
    row.item.dataset.state = 'done';
    row.bar.hidden = true;
    row.detail.textContent = detail;
  }
}

function createRow(title: string): Row {
  const detail = html('span', { class: 'detail' });
  const bar = html('progress', { 'aria-label': title, hidden: '' });
  return {
    item: html('li', { 'data-state': 'waiting' }, html('span', {}, title), detail, bar),
    detail,
    bar,
    started: 0,
  };
}
