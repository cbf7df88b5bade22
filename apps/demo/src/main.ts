import {
  type CompressionSummary,
  type Failure,
  type PageMessage,
  type Side,
  sides,
  type WorkerMessage,
} from './messages.ts';
import { explainFailure, formatCount, formatSeconds, formatShare } from './page/format.ts';
import { CompressionForm, PromptForm, type PromptSettings, requireElement } from './page/forms.ts';
import { ModelColumn } from './page/model-column.ts';
import { StageList } from './page/stage-list.ts';
import { type DemoSettings, settingsFromQuery } from './settings.ts';

/**
 * The worker, started with the first message. One that cannot start or breaks down is told as a failure like any other,
 * and the next message starts a new one.
 */
class WorkerClient {
  readonly #onMessage: (message: WorkerMessage) => void;
  #worker: Worker | undefined;

  constructor(onMessage: (message: WorkerMessage) => void) {
    this.#onMessage = onMessage;
  }

  send(message: PageMessage): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(message);
  }

  #start(): Worker {
    const worker = new Worker(new URL('./worker/demo-worker.ts', import.meta.url), { type: 'module', name: 'kvlr' });
    worker.addEventListener('message', ({ data }: MessageEvent<WorkerMessage>) => this.#onMessage(data));
    worker.addEventListener('error', (event) => {
      worker.terminate();
      this.#worker = undefined;
      const message = event.message || 'The worker that computes did not start.';
      const hint = 'Try again, or load the page again; it needs a browser from 2023 or later.';
      this.#onMessage({ type: 'failed', failure: { code: 'worker', message, hint } });
    });
    return worker;
  }
}

const backendNames = { webgpu: 'WebGPU', wasm: 'WASM', cpu: 'plain JavaScript' } as const;
/** One seed for both models: they differ only where their probabilities do. */
const seed = 1;

/** What the worker is at; also the id of the button that begins it. */
type Running = 'compress' | 'generate';

/** The page: forwards what the visitor wants to the worker, and shows what comes back. */
class DemoPage {
  readonly #settings: DemoSettings;
  readonly #worker: WorkerClient;
  readonly #compressionForm: CompressionForm;
  readonly #promptForm: PromptForm;
  readonly #stages: StageList;
  readonly #columns: Record<Side, ModelColumn>;
  #summary: CompressionSummary | undefined;
  #running: Running | undefined;
  #prompt = '';

  constructor(settings: DemoSettings) {
    this.#settings = settings;
    this.#worker = new WorkerClient((message) => this.#receive(message));
    const stop = () => this.#worker.send({ type: 'stop' });
    this.#compressionForm = new CompressionForm(settings, { compress: (chosen) => this.#compress(chosen), stop });
    this.#promptForm = new PromptForm({ generate: (chosen) => this.#generate(chosen), stop });
    this.#stages = new StageList(element('#stages'), announce);
    const template = requireElement(document, '#column-template', HTMLTemplateElement);
    this.#columns = {
      original: new ModelColumn(element('#column-original'), 'original', template),
      compressed: new ModelColumn(element('#column-compressed'), 'compressed', template),
    };
  }

  #compress(settings: DemoSettings): void {
    this.#setRunning('compress');
    this.#stages.begin(settings.repair !== 'none');
    element('#comparison').hidden = true;
    element('#backend').hidden = true;
    this.#worker.send({ type: 'compress', settings });
  }

  #generate({ prompt, temperature }: PromptSettings): void {
    this.#setRunning('generate');
    this.#prompt = prompt;
    this.#worker.send({ type: 'generate', prompt, temperature, seed, newTokens: this.#settings.newTokens });
  }

  #receive(message: WorkerMessage): void {
    switch (message.type) {
      case 'download':
        this.#stages.showDownload(message.loadedBytes);
        break;
      case 'event':
        this.#stages.show(message.event);
        break;
      case 'compressed':
        this.#showCompressed(message.summary);
        break;
      case 'started':
        this.#showStarted(message.longestContext);
        break;
      case 'token':
        this.#columns[message.progress.side].show(message.progress);
        break;
      case 'generated':
        this.#showGenerated(message.sameTokens);
        break;
      case 'stopped':
        this.#end('Stopped.');
        break;
      case 'failed':
        this.#showFailure(message.failure);
        break;
    }
  }

  #showCompressed(summary: CompressionSummary): void {
    this.#summary = summary;
    const { models, backend } = summary;
    for (const side of sides) this.#columns[side].describe(models[side], models.original);
    element('#backend').textContent = `Computed on ${backendNames[backend.backend]}: ${backend.reason}.`;
    element('#backend').hidden = false;
    element('#method-note').textContent = noteOn(summary);
    element('#comparison').hidden = false;
    element('#comparison').scrollIntoView();
    this.#end(`Compressed in ${formatSeconds(summary.seconds)}.`);
    this.#generate(this.#promptForm.settings());
  }

  #showStarted(longestContext: number): void {
    element('#verdict').textContent = '';
    for (const column of Object.values(this.#columns)) {
      column.begin(this.#prompt, longestContext, this.#summary!.models.original.bytesPerToken);
    }
    announce('Both models are writing.');
  }

  #showGenerated(sameTokens: number): void {
    const verdict =
      sameTokens === 0
        ? 'The two differ from the first token.'
        : `The two agree word for word on the first ${formatCount(sameTokens, 'token')}.`;
    element('#verdict').textContent = verdict;
    this.#end(`Both have finished. ${verdict}`);
  }

  #showFailure(failure: Failure): void {
    const { message, hint } = explainFailure(failure);
    this.#end('');
    element('#failure-message').textContent = message;
    element('#failure-hint').textContent = hint;
    element('#failure').hidden = false;
  }

  #end(message: string): void {
    this.#setRunning(undefined);
    this.#stages.interrupt();
    for (const column of Object.values(this.#columns)) column.end();
    announce(message);
  }

  #setRunning(running: Running | undefined): void {
    const focused = document.activeElement;
    const ended = this.#running;
    this.#running = running;
    if (running !== undefined) element('#failure').hidden = true;
    this.#compressionForm.setRunning(running);
    this.#promptForm.setRunning(running);
    document.body.dataset.running = running ?? '';
    // A button that is locked or gone drops the focus: whoever goes by keyboard finds it on the one in its place.
    if (focused instanceof HTMLButtonElement && (focused.disabled || focused.hidden)) {
      const successor = running === undefined ? `#${ended ?? 'compress'}` : `#stop-${running}`;
      element(successor).focus({ preventScroll: true });
    }
  }
}

/** Text for screen readers: whole steps, not every token. */
function announce(message: string): void {
  element('#status').textContent = message;
}

function element(selector: string): HTMLElement {
  return requireElement(document, selector, HTMLElement);
}

function noteOn({ evaluatedTokens, topOneAgreement, models }: CompressionSummary): string {
  const error = models.original.perplexity.standardError === undefined ? '' : ', ± one standard error over windows';
  return (
    `Perplexity on ${formatCount(evaluatedTokens, 'token')} that neither model's making has seen${error}; both ` +
    `put the same token first in ${formatShare(topOneAgreement)} of them. The cache holds float32 numbers. Both models write in turns on the same machine; ` +
    'speed is that of the median step, and on a model this small it says little about large ones.'
  );
}

new DemoPage(settingsFromQuery(window.location.search));
