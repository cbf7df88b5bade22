import { requireElement } from './require-element.ts';

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
    const drawn = new FormData(this.#form).get('sampling') === 'drawn';
    return { prompt: this.#prompt.value, temperature: drawn ? 0.8 : 0 };
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
