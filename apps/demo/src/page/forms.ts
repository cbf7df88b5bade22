import type { DemoSettings, KeptShare, Repair } from '../settings.ts';

/** The element that a selector finds, of the class that is expected. A miss is a mistake in index.html. */
export function requireElement<Expected extends Element>(
  root: ParentNode,
  selector: string,
  expected: new () => Expected,
): Expected {
  const found = root.querySelector(selector);
  if (found instanceof expected) return found;
  throw new Error(`expected ${expected.name} at ${selector}, got ${found?.tagName ?? 'nothing'}`);
}

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

/** Beginnings in the tone of what the model has read. */
const beginnings = [
  'The old captain stood at the rail and looked out over the sea,',
  'And it came to pass in those days, that the king',
  'My fellow citizens, the state of our Union is',
];

export interface PromptSettings {
  prompt: string;
  /** 0 takes the likeliest token each time. */
  temperature: number;
}

/** The prompt, what to do with it, and beginnings to try. */
export class PromptForm {
  readonly #form = requireElement(document, '#prompt-form', HTMLFormElement);
  readonly #prompt = requireElement(document, '#prompt', HTMLTextAreaElement);
  readonly #button = requireElement(document, '#generate', HTMLButtonElement);
  readonly #stop = requireElement(document, '#stop-generate', HTMLButtonElement);
  readonly #suggestions = beginnings.map((beginning) => this.#suggestion(beginning));

  constructor(listeners: { generate: (settings: PromptSettings) => void; stop: () => void }) {
    this.#prompt.value = beginnings[0]!;
    const suggestions = requireElement(document, '#suggestions', HTMLElement);
    suggestions.append(...this.#suggestions);
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      listeners.generate(this.settings());
    });
    this.#stop.addEventListener('click', listeners.stop);
  }

  settings(): PromptSettings {
    const sampled = new FormData(this.#form).get('sampling') === 'sampled';
    return { prompt: this.#prompt.value, temperature: sampled ? 0.8 : 0 };
  }

  setRunning(running: 'compress' | 'generate' | undefined): void {
    for (const button of [this.#button, ...this.#suggestions]) button.disabled = running !== undefined;
    this.#stop.hidden = running !== 'generate';
  }

  #suggestion(beginning: string): HTMLButtonElement {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = `${beginning.replace(/,$/, '')} …`;
    button.addEventListener('click', () => {
      this.#prompt.value = beginning;
      this.#form.requestSubmit();
    });
    return button;
  }
}
