import { html, requireElement } from './elements.ts';

/** Beginnings in the tone of what the embedded model has read. */
const beginnings = [
  'And it came to pass in those days, that the king',
  'The old captain stood at the rail and looked out over the sea,',
  'My fellow citizens, the state of our Union is',
];

/** The prompt, and beginnings to try. */
export class PromptForm {
  readonly #form = requireElement('#prompt-form', HTMLFormElement);
  readonly #prompt = requireElement('#prompt', HTMLInputElement);
  readonly #stop = requireElement('#stop-generate', HTMLButtonElement);

  constructor(prompt: string | undefined, listeners: { write: () => void; stop: () => void }) {
    this.#prompt.value = prompt || beginnings[0]!;
    requireElement('#suggestions', HTMLElement).append(...beginnings.map((beginning) => this.#suggestion(beginning)));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      listeners.write();
    });
    this.#stop.addEventListener('click', listeners.stop);
  }

  get prompt(): string {
    return this.#prompt.value;
  }

  setWriting(writing: boolean): void {
    this.#stop.hidden = !writing;
  }

  #suggestion(beginning: string): HTMLButtonElement {
    const button = html('button', { type: 'button' }, `${beginning.replace(/,$/, '')} …`);
    button.addEventListener('click', () => {
      this.#prompt.value = beginning;
      this.#form.requestSubmit();
    });
    return button;
  }
}
