import { formatBytes, formatChange, formatDuration, formatMeasurement } from '@kvlr/report';
import type { KeptResult, OwnLocation, OwnModel, OwnPlan, PageMessage, SavedForm, SaveTarget } from '../messages.ts';
import { scoreOf, usualCodec } from '../pair.ts';
import type { DemoSettings, Repair } from '../settings.ts';
import { filesOfDrop, filesOfInput } from './dropped-files.ts';
import { element, requireElement, setText } from './elements.ts';
import { explainFailure } from './failure.ts';
import { savedShare } from './headline.ts';

/** `showSaveFilePicker` and `showDirectoryPicker`, which not every browser has. */
interface Pickers {
  showSaveFilePicker?(options: { suggestedName: string }): Promise<FileSystemFileHandle>;
  showDirectoryPicker?(options: { mode: 'readwrite' }): Promise<FileSystemDirectoryHandle>;
}
const pickers = globalThis as Pickers;

interface WorkshopListeners {
  compress: (settings: DemoSettings) => void;
  stop: () => void;
  send: (message: Extract<PageMessage, { type: 'open' | 'close-own' | 'save' }>) => void;
}

/** The part of the page where visitors compress: settings, a model of their own, and what comes out. */
export class Workshop {
  readonly #defaults: DemoSettings;
  readonly #form = requireElement('#compress-form', HTMLFormElement);
  readonly #button = requireElement('#compress', HTMLButtonElement);
  readonly #stop = requireElement('#stop-compress', HTMLButtonElement);
  readonly #listeners: WorkshopListeners;
  #own: OwnModel | undefined;

  constructor(defaults: DemoSettings, listeners: WorkshopListeners) {
    this.#defaults = defaults;
    this.#listeners = listeners;
    for (const name of ['keep', 'repair', 'backend'] as const) {
      requireElement(`[name=${name}][value="${defaults[name]}"]`, HTMLInputElement, this.#form).checked = true;
    }
    this.#form.addEventListener('change', () => this.#showEstimate());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      listeners.compress(this.settings);
    });
    this.#stop.addEventListener('click', listeners.stop);
    this.#listenForModels();
    this.#listenForSaving();
    this.#showEstimate();
  }

  get settings(): DemoSettings {
    // Not by FormData, which leaves out what is locked while something runs.
    const chosen = (name: string) => requireElement(`[name=${name}]:checked`, HTMLInputElement, this.#form).value;
    return {
      ...this.#defaults,
      keep: Number(chosen('keep')),
      repair: chosen('repair') as Repair,
      backend: chosen('backend') as DemoSettings['backend'],
    };
  }

  useWasm(): void {
    requireElement('[name=backend][value=wasm]', HTMLInputElement, this.#form).checked = true;
  }

  setCompressing(compressing: boolean): void {
    for (const fieldset of this.#form.querySelectorAll('fieldset')) fieldset.disabled = compressing;
    const focused = document.activeElement;
    this.#stop.hidden = !compressing;
    this.#button.hidden = compressing;
    // A button that is gone drops the focus: whoever goes by keyboard finds it on the one in its place.
    if (focused === this.#button || focused === this.#stop) {
      (compressing ? this.#stop : this.#button).focus({ preventScroll: true });
    }
  }

  /** Shows a model of the visitor's in place of the embedded one, or takes it away. */
  showOwn(own: OwnModel | undefined): void {
    this.#own = own;
    element('#own-model').hidden = own === undefined;
    element('#own').hidden = own !== undefined;
    if (own) {
      setText('#own-name', own.name);
      const { architecture, numLayers, keyValueHeads, headDim, parameters } = own;
      const size = `${(parameters / 1e6).toFixed(parameters < 1e7 ? 1 : 0)} million parameters`;
      setText(
        '#own-facts',
        `${architecture}, ${size}, ${numLayers} layers, ${keyValueHeads} KV heads of ${headDim}. Nothing of its weights is loaded yet.`,
      );
    }
    element('#result').hidden = true;
    element('#stages').hidden = true;
    this.#showEstimate();
  }

  showResult({ set, seconds, title, ggufReason }: KeptResult): void {
    const [original, made] = set.records as [(typeof set.records)[0], (typeof set.records)[0]];
    const [usual, score] = [scoreOf(original, usualCodec), scoreOf(made, usualCodec)];
    setText(
      '#result-title',
      `${set.modelName}, ${made.keyValueHeads} KV ${made.keyValueHeads === 1 ? 'head' : 'heads'} of ${made.headDim}`,
    );
    setText(
      '#result-facts',
      `${savedShare(score, usual)} cache. Perplexity ${formatMeasurement(score.perplexity)}, original ${formatMeasurement(usual.perplexity)} ` +
        `(${formatChange(score.perplexityRatio.value - 1)}), on ${set.measured.tokens.toLocaleString('en-US')} tokens. ` +
        `${title.charAt(0).toUpperCase()}${title.slice(1)}, in ${formatDuration(seconds)}.`,
    );
    requireElement('#save-gguf', HTMLButtonElement).disabled = ggufReason !== undefined;
    setText('#save-status', ggufReason === undefined ? '' : `GGUF cannot hold it: ${ggufReason}.`);
    // Where it comes from an earlier visit, it is kept; else that is told when it is known.
    setText('#kept', '');
    element('#result').hidden = false;
  }

  /** Says whether a reload will find the result again. */
  showKept(kept: boolean): void {
    setText(
      '#kept',
      kept ? 'This browser keeps it.' : 'This browser does not keep it: save it before you leave the page.',
    );
  }

  /** Hands out what the worker wrote into memory, and says what was written where. */
  showSaved(fileName: string, blob: Blob | undefined): void {
    setText('#save-status', `Written: ${fileName}${blob ? `, ${formatBytes(blob.size)}` : ''}.`);
    if (blob === undefined) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = fileName;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  showSaving(detail: string): void {
    setText('#save-status', detail);
  }

  get #plan(): OwnPlan | undefined {
    const { keep } = this.settings;
    return this.#own?.plans.find((plan) => plan.keep === keep);
  }

  #showEstimate(): void {
    const plan = this.#plan;
    this.#button.disabled = plan?.refusal !== undefined;
    if (this.#own === undefined) {
      setText('#estimate', 'The embedded model. Training the layers takes by far the longest.');
    } else if (plan?.refusal) {
      const { message, hint } = explainFailure(plan.refusal);
      setText('#estimate', `${message}. ${hint}`);
    } else if (plan) {
      const heads = `${plan.keyValueHeads} KV ${plan.keyValueHeads === 1 ? 'head' : 'heads'}${plan.headWidth === 1 ? '' : `, ${plan.headWidth} times as wide`}`;
      setText(
        '#estimate',
        `${heads}: about ${formatDuration(plan.seconds!)} (within a factor of three) and ${formatBytes(plan.memoryBytes!)} of memory. Loads into ${plan.loadsInto}.`,
      );
    }
  }

  #listenForModels(): void {
    const open = (location: OwnLocation) => this.#listeners.send({ type: 'open', location, settings: this.settings });
    const drop = element('#drop');
    for (const type of ['dragenter', 'dragover'] as const) {
      drop.addEventListener(type, (event) => {
        event.preventDefault();
        drop.dataset.over = '';
      });
    }
    drop.addEventListener('dragleave', () => delete drop.dataset.over);
    drop.addEventListener('drop', async (event) => {
      event.preventDefault();
      delete drop.dataset.over;
      const files = await filesOfDrop(event.dataTransfer!);
      if (files.length > 0) open({ files });
    });
    for (const id of ['#folder-input', '#file-input']) {
      const input = requireElement(id, HTMLInputElement);
      input.addEventListener('change', () => {
        if (input.files!.length > 0) open({ files: filesOfInput(input.files!) });
        input.value = '';
      });
    }
    requireElement('#address-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      open({ address: requireElement('#address', HTMLInputElement).value });
    });
    element('#close-own').addEventListener('click', () => this.#listeners.send({ type: 'close-own' }));
  }

  #listenForSaving(): void {
    const folder = element('#save-folder');
    folder.hidden = pickers.showDirectoryPicker === undefined;
    const save = async (form: SavedForm, choose: () => Promise<SaveTarget>) => {
      try {
        this.#listeners.send({ type: 'save', form, target: await choose() });
      } catch (error) {
        // A dialog that was closed is no failure.
        if (!(error instanceof DOMException && error.name === 'AbortError')) throw error;
      }
    };
    element('#save-zip').addEventListener('click', () => save('zip', () => chooseFile('model.zip')));
    element('#save-gguf').addEventListener('click', () => save('gguf', () => chooseFile('model.gguf')));
    folder.addEventListener('click', () =>
      save('folder', async () => ({
        kind: 'folder',
        handle: await pickers.showDirectoryPicker!({ mode: 'readwrite' }),
      })),
    );
  }
}

/** A file on disk where the browser lets pages write there, else memory. */
async function chooseFile(suggestedName: string): Promise<SaveTarget> {
  if (pickers.showSaveFilePicker === undefined) return { kind: 'memory' };
  return { kind: 'file', handle: await pickers.showSaveFilePicker({ suggestedName }) };
}
