import { formatBytes, formatCount } from '@kvlr/report';
import type { Failure, KeptResult, OwnModel, PairChoice, WorkerMessage } from './messages.ts';
import { CapacityTable } from './page/capacity.ts';
import { Dial } from './page/dial.ts';
import { element, requireElement, setText } from './page/elements.ts';
import { explainFailure } from './page/failure.ts';
import { showHeadline } from './page/headline.ts';
import { PictureSection } from './page/pictures.ts';
import { PromptForm } from './page/prompt-form.ts';
import { QualityPlot } from './page/quality-plot.ts';
import { StageList } from './page/stage-list.ts';
import { WorkerClient } from './page/worker-client.ts';
import { Workshop } from './page/workshop.ts';
import { WritingColumn } from './page/writing-column.ts';
import { type PairRecord, type PairSet, scoreOf, usualCodec } from './pair.ts';
import { type DemoSettings, settingsFromQuery } from './settings.ts';

const backendNames = { webgpu: 'WebGPU', wasm: 'WASM', cpu: 'plain JavaScript' } as const;

/** The page: forwards what the visitor wants to the worker, and shows what comes back. */
class DemoPage {
  readonly #settings: DemoSettings;
  readonly #worker = new WorkerClient((message) => this.#receive(message));
  readonly #address = new URLSearchParams(window.location.search);
  readonly #columns = { original: new WritingColumn('original'), compressed: new WritingColumn('compressed') };
  readonly #heads = new Dial<string>(element('#heads-dial'), 'KV heads', () => this.#turn());
  readonly #bits = new Dial<string>(element('#codec-dial'), 'Bits per number', () => this.#turn());
  readonly #plot = new QualityPlot();
  readonly #capacity = new CapacityTable();
  readonly #pictures = new PictureSection();
  readonly #stages = new StageList(announce);
  readonly #promptForm: PromptForm;
  readonly #workshop: Workshop;
  #shipped: PairSet | undefined;
  #result: KeptResult | undefined;
  #own: OwnModel | undefined;
  #retry: () => void = () => {};
  /** Work that a text would stop: it waits until that is done. */
  #busy: string | undefined;
  #writeLater = false;
  #writingSoon: number | undefined;
  #sharedTokens = 0;
  #newTokens = 0;

  constructor(settings: DemoSettings) {
    this.#settings = settings;
    this.#promptForm = new PromptForm(this.#address.get('prompt') ?? undefined, {
      write: () => this.#write(),
      stop: () => this.#worker.send({ type: 'stop' }),
    });
    this.#workshop = new Workshop(settings, {
      compress: (chosen) => this.#compress(chosen),
      stop: () => this.#worker.send({ type: 'stop' }),
      send: (message) =>
        this.#perform(() => {
          this.#busy = message.type;
          this.#worker.send(message);
        }),
    });
    for (const choice of document.querySelectorAll('[name=set]'))
      choice.addEventListener('change', () => this.#chooseSet());
    element('#retry').addEventListener('click', () => this.#retry());
    element('#use-wasm').addEventListener('click', () => {
      this.#workshop.useWasm();
      this.#retry();
    });
    // Begins before the figures are there: the texts are what a visitor came for.
    this.#write();
  }

  get #setName(): PairChoice['set'] {
    return requireElement('[name=set][value=own]', HTMLInputElement).checked ? 'own' : 'shipped';
  }

  get #set(): PairSet | undefined {
    return this.#setName === 'own' ? this.#result?.set : this.#shipped;
  }

  /** What the sliders say; before there are any, what the address does. */
  get #view(): PairChoice {
    const [pair, codec] = this.#shipped
      ? [this.#heads.value, this.#bits.value]
      : [this.#address.get('heads') ?? 'half', this.#address.get('bits') ?? usualCodec];
    return { set: this.#setName, pair, codec };
  }

  /** The record that the sliders stand at. */
  get #record(): PairRecord | undefined {
    const { pair } = this.#view;
    return this.#set?.records.find(({ name }) => name === pair);
  }

  #perform(send: () => void): void {
    element('#failure').hidden = true;
    this.#retry = () => this.#perform(send);
    send();
  }

  #write(): void {
    this.#writeLater = this.#busy !== undefined;
    if (this.#writeLater) return;
    const choice = this.#view;
    const { newTokens } = this.#settings;
    this.#perform(() => {
      const { prompt } = this.#promptForm;
      this.#remember({ prompt, bits: choice.codec, ...(choice.set === 'shipped' && { heads: choice.pair }) });
      this.#promptForm.setWriting(true);
      this.#worker.send({ type: 'write', choice, prompt, newTokens, backend: this.#workshop.settings.backend });
    });
  }

  #compress(settings: DemoSettings): void {
    this.#perform(() => {
      const chosen = { ...settings, backend: this.#workshop.settings.backend };
      this.#busy = 'compress';
      this.#workshop.setCompressing(true);
      element('#result').hidden = true;
      this.#stages.begin(chosen.repair !== 'none');
      this.#worker.send({ type: 'compress', settings: chosen });
    });
  }

  #remember(choices: Record<string, string>): void {
    for (const [name, value] of Object.entries(choices)) this.#address.set(name, value);
    history.replaceState(null, '', `?${this.#address}`);
  }

  /** A slider moved: figures follow at once, texts once it rests. */
  #turn(): void {
    this.#showFigures();
    clearTimeout(this.#writingSoon);
    this.#writingSoon = window.setTimeout(() => this.#write(), 250);
  }

  #receive(message: WorkerMessage): void {
    switch (message.type) {
      case 'pairs':
        this.#shipped = message.set;
        this.#showSet(this.#address.get('heads') ?? 'half', this.#address.get('bits') ?? usualCodec);
        if (message.kept) this.#showResult(message.kept);
        break;
      case 'backend':
        setText('#backend', `Computed on ${backendNames[message.backend.backend]}: ${message.backend.reason}.`);
        break;
      case 'event':
        if (message.event.type === 'progress' && message.event.stage === 'write') {
          const { completed, total } = message.event;
          this.#workshop.showSaving(`Writing: ${formatBytes(completed)} of ${formatBytes(total)}`);
        } else this.#stages.show(message.event);
        break;
      case 'started':
        this.#showStarted(message.longestContext);
        break;
      case 'token': {
        const { side, sharedCharacters, sharedTokens, newTokens } = message.progress;
        this.#columns[side].show(message.progress);
        this.#columns[side === 'original' ? 'compressed' : 'original'].mark(sharedCharacters);
        this.#sharedTokens = sharedTokens;
        this.#newTokens = newTokens;
        break;
      }
      case 'written':
        this.#showVerdict();
        break;
      case 'speed':
        this.#columns[message.side].showSpeed(message.tokensPerSecond);
        break;
      case 'opened':
        this.#showOwn(message.own, message.kept);
        break;
      case 'compressed':
        this.#showResult(message.result);
        requireElement('[name=set][value=own]', HTMLInputElement).checked = true;
        this.#chooseSet();
        announce('Compressed.');
        break;
      case 'kept':
        this.#workshop.showKept(message.kept);
        break;
      case 'saved':
        this.#workshop.showSaved(message.fileName, message.blob);
        announce(`Written: ${message.fileName}`);
        break;
      case 'stopped':
        this.#end(message.work);
        if (message.work === 'compress') announce('Stopped.');
        break;
      case 'done':
        document.body.dataset.done = message.work;
        this.#end(message.work);
        break;
      case 'failed':
        this.#end(message.work);
        this.#showFailure(message.failure);
        break;
    }
  }

  #chooseSet(): void {
    this.#showSet(this.#set!.records[1]!.name, this.#bits.value);
    this.#write();
  }

  /** Sets the sliders up for the set that is chosen. */
  #showSet(pair: string, codec: string): void {
    const { records, codecs } = this.#set!;
    const fraction = (keep: number) => (keep === 1 ? 'all' : `1/${Math.round(1 / keep)}`);
    const stops = records.map((record) => ({
      value: record.name,
      label: fraction(record.keep),
      title:
        record.keep === 1 ? `all, ${describeHeads(record)}` : `${fraction(record.keep)}, as ${describeHeads(record)}`,
    }));
    this.#heads.show(stops, pair);
    this.#bits.show(
      codecs.map(({ name, title, label }) => ({ value: name, label, title })),
      codec,
    );
    this.#showFigures();
  }

  #showFigures(): void {
    const [set, record] = [this.#set!, this.#record!];
    const { codec } = this.#view;
    const titleOf = (name: string) => set.codecs.find((one) => one.name === name)!.title;
    showHeadline(set, record, codec);
    this.#columns.original.describe(`${describeHeads(set.records[0]!)} a layer, ${titleOf(usualCodec)}`);
    this.#columns.compressed.describe(`${describeHeads(record)} a layer, ${titleOf(codec)}`);
    this.#plot.show(set, record, codec);
    const kept = record.keep === 1 ? 'all' : `1/${Math.round(1 / record.keep)}`;
    this.#capacity.show(record.keep, `${kept} in ${titleOf(codec)}`, codec, this.#own ?? embeddedModel(this.#shipped!));
    this.#pictures.show(record, set.modelName);
    const { tokens, windows, windowLength, contextTokens, sources } = set.measured;
    setText(
      '#measured',
      `Agreement and perplexity on ${formatCount(tokens)} tokens of ${sources.join(', ')} that nothing was fitted to, in ${formatCount(windows)} ` +
        `windows of ${formatCount(windowLength)}; ± is one standard error over windows. Both models take the likeliest token each time. ` +
        `Bytes a token are those of a context of ${formatCount(contextTokens)} tokens; in blocks of 32 tokens (▤) the first 4 and the newest stay in 16 bits. ` +
        'Speeds are of each model alone, over the whole text; on a model this small they say little about large ones.',
    );
  }

  #showStarted(longestContext: number): void {
    setText('#verdict', '');
    const usual = this.#set ? scoreOf(this.#set.records[0]!, usualCodec).bytesPerToken : Number.POSITIVE_INFINITY;
    for (const column of Object.values(this.#columns)) column.begin(this.#promptForm.prompt, longestContext * usual);
  }

  #showVerdict(): void {
    const verdict =
      this.#sharedTokens >= this.#newTokens
        ? `Word for word the same, all ${formatCount(this.#newTokens)} tokens.`
        : `The same for ${formatCount(this.#sharedTokens)} ${this.#sharedTokens === 1 ? 'token' : 'tokens'}; where they part is marked.`;
    setText('#verdict', verdict);
    announce(`Both have finished. ${verdict}`);
  }

  /** Shows a model of the visitor's in place of the embedded one, or the embedded one again with what was made of it. */
  #showOwn(own: OwnModel | undefined, kept: KeptResult | undefined): void {
    this.#own = own;
    const wasOwn = this.#setName === 'own';
    requireElement('[name=set][value=shipped]', HTMLInputElement).checked = true;
    this.#result = undefined;
    element('#set-choice').hidden = true;
    this.#workshop.showOwn(own);
    if (kept) this.#showResult(kept);
    if (this.#shipped && wasOwn) this.#chooseSet();
    else if (this.#shipped) this.#showFigures();
    announce(own ? `${own.name} is open.` : 'Back to the embedded model.');
  }

  #showResult(result: KeptResult): void {
    this.#result = result;
    this.#workshop.showResult(result);
    element('#set-choice').hidden = false;
  }

  #showFailure(failure: Failure): void {
    const { message, hint, wasm } = explainFailure(failure);
    setText('#failure-message', message);
    setText('#failure-hint', hint);
    element('#use-wasm').hidden = !wasm || this.#workshop.settings.backend === 'wasm';
    element('#failure').hidden = false;
    element('#failure').scrollIntoView({ block: 'nearest' });
  }

  #end(work: string): void {
    if (work === 'write') {
      this.#promptForm.setWriting(false);
      for (const column of Object.values(this.#columns)) column.end();
    }
    if (work === 'compress') {
      this.#workshop.setCompressing(false);
      this.#stages.interrupt();
    }
    if (work === this.#busy) this.#busy = undefined;
    if (this.#writeLater) this.#write();
  }
}

function describeHeads({ keyValueHeads, headDim }: PairRecord): string {
  return `${keyValueHeads} KV ${keyValueHeads === 1 ? 'head' : 'heads'} of ${headDim}`;
}

/** The page's own model as a row of what memory holds. */
function embeddedModel(set: PairSet) {
  const { keyValueHeads, headDim } = set.records[0]!;
  return { name: `${set.modelName} (above)`, numLayers: set.numLayers, keyValueHeads, headDim };
}

/** Text for screen readers: whole steps, not every token. */
function announce(message: string): void {
  setText('#status', message);
}

new DemoPage(settingsFromQuery(window.location.search));
