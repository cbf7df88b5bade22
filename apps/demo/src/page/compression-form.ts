import type { DemoSettings, KeptShare, Repair } from '../settings/demo-settings.ts';
import { requireElement } from './require-element.ts';

const costs: Readonly<Record<Repair, string>> = {
  none: 'No repair: done soonest. The merged heads stay as the closed forms give them, which costs some quality.',
  short:
    'A brief repair: each layer is trained for a moment towards what it did in the original. The longest step; it wins back quality.',
  light: 'The longer repair of kvlr compress --recover light: more steps and text, more quality, minutes on WASM.',
};

/** The choices above the button. */
export class CompressionForm {
  readonly #form: HTMLFormElement;
  readonly #defaults: DemoSettings;
  readonly #button = requireElement(document, '#compress', HTMLButtonElement);
  readonly #stop = requireElement(document, '#stop-compress', HTMLButtonElement);

  constructor(defaults: DemoSettings, listeners: { compress: (settings: DemoSettings) => void; stop: () => void }) {
    this.#form = requireElement(document, '#compress-form', HTMLFormElement);
    this.#defaults = defaults;
    for (const name of ['keep', 'repair', 'backend'] as const) {
      requireElement(this.#form, `[name=${name}][value=${defaults[name]}]`, HTMLInputElement).checked = true;
    }
    this.#explainRepair();
    this.#form.addEventListener('change', () => this.#explainRepair());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      listeners.compress(this.#settings());
    });
    this.#stop.addEventListener('click', listeners.stop);
  }

  /** Locks the choices while something runs; Stop shows only for the compression itself. */
  setRunning(running: 'compress' | 'generate' | undefined): void {
    for (const fieldset of this.#form.querySelectorAll('fieldset')) fieldset.disabled = running !== undefined;
    this.#button.disabled = running !== undefined;
    this.#stop.hidden = running !== 'compress';
  }

  #settings(): DemoSettings {
    const data = new FormData(this.#form);
    return {
      ...this.#defaults,
      keep: data.get('keep') as KeptShare,
      repair: data.get('repair') as Repair,
      backend: data.get('backend') as DemoSettings['backend'],
    };
  }

  #explainRepair(): void {
    requireElement(document, '#repair-cost', HTMLElement).textContent = costs[this.#settings().repair];
  }
}
