import { html } from './elements.ts';

export interface DialStop<Value> {
  value: Value;
  /** What stands below the stop: short. */
  label: string;
  /** What the dial says when it stands here. */
  title: string;
}

/** A slider with few named stops. */
export class Dial<Value> {
  readonly #place: HTMLElement;
  readonly #title: string;
  readonly #onChange: () => void;
  #stops: readonly DialStop<Value>[] = [];
  #input = html('input');

  constructor(place: HTMLElement, title: string, onChange: () => void) {
    this.#place = place;
    this.#title = title;
    this.#onChange = onChange;
  }

  /** Shows these stops, standing at the one that is chosen, or at the first. */
  show(stops: readonly DialStop<Value>[], chosen: Value): void {
    this.#stops = stops;
    const index = Math.max(
      0,
      stops.findIndex(({ value }) => value === chosen),
    );
    const id = `${this.#place.id}-input`;
    const attributes = { id, type: 'range', min: 0, max: Math.max(0, stops.length - 1), step: 1, value: index };
    this.#input = html('input', attributes);
    const output = html('output', { for: id });
    const ticks = html(
      'div',
      { class: 'ticks', 'aria-hidden': 'true' },
      ...stops.map(({ label }, place) => {
        const tick = html('span', {}, label);
        tick.style.left = stops.length > 1 ? `${(100 * place) / (stops.length - 1)}%` : '0%';
        return tick;
      }),
    );
    const tell = () => {
      output.textContent = this.#stop.title;
      this.#input.setAttribute('aria-valuetext', this.#stop.title);
      this.#input.style.setProperty('--share', String(Number(this.#input.value) / Math.max(1, stops.length - 1)));
    };
    this.#input.addEventListener('input', () => {
      tell();
      this.#onChange();
    });
    tell();
    const head = html('div', { class: 'dial-head' }, html('label', { for: id }, this.#title), output);
    this.#place.replaceChildren(head, this.#input, ticks);
    this.#place.hidden = stops.length < 2;
  }

  get value(): Value {
    return this.#stop.value;
  }

  get #stop(): DialStop<Value> {
    return this.#stops[Number(this.#input.value)]!;
  }
}
