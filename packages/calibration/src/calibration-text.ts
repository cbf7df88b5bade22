import { createRandom, KvlrError, type Tokenizer } from '@kvlr/core';
import { encodeDocuments, hashTexts, type TextDocument } from './text.ts';
import { consecutiveWindows, requireTokens } from './windows.ts';

export interface SampleSettings {
  /** Windows. Default 48. */
  count?: number;
  /** Tokens of a window. Default 512. */
  length?: number;
  /** Same seed, same windows. Default 0. */
  seed?: number;
}

export interface SplitSettings {
  trainingCount: number;
  heldOutCount: number;
  /** Tokens of a window. Default 512. */
  length?: number;
  /** Same seed, same split. Default 0. */
  seed?: number;
}

export interface SplitWindows {
  training: Int32Array[];
  heldOut: Int32Array[];
}

/**
 * The text that a model is compressed and trained on, as one stream of tokens from which windows are cut. It is tokenised when
 * tokens are first asked for, and then kept. Same text, tokenizer and seed, same windows.
 *
 * What does not fit throws KvlrError 'text-too-short': it names the text (`where.argument` 'calibration text', `data.purpose`
 * 'calibration') and the tokens that are needed and there (`data.required`, `data.available`).
 */
export class CalibrationText {
  private ids: Int32Array | undefined;

  constructor(
    readonly documents: readonly TextDocument[],
    private readonly tokenizer: Tokenizer,
  ) {}

  /** The whole stream, see `encodeDocuments`. */
  get tokenIds(): Int32Array {
    this.ids ??= encodeDocuments(this.documents, this.tokenizer);
    return this.ids;
  }

  /** SHA-256 of the documents, see `hashTexts`: the `textHash` of a provenance. Does not need the tokens. */
  hash(): Promise<string> {
    return hashTexts(this.documents);
  }

  /** Windows at random places, with replacement: they may overlap. The defaults are kvlr's calibration. */
  sample(settings: SampleSettings = {}): Int32Array[] {
    const { length = defaultLength } = settings;
    return sampleStarts(this.tokenIds.length, settings).map((start) => this.window(start, length));
  }

  /**
   * Windows to fit on and windows to evaluate the fit on, without a token in common: the stream is cut side by side and the windows
   * are dealt out in a random order.
   */
  split(settings: SplitSettings): SplitWindows {
    const { trainingCount, heldOutCount, length = defaultLength, seed = 0 } = settings;
    const wanted = trainingCount + heldOutCount;
    requireTokens('calibration', this.tokenIds.length, wanted * length);
    const windows = consecutiveWindows(this.tokenIds, length);
    shuffleFirst(windows, wanted, seed);
    return { heldOut: windows.slice(0, heldOutCount), training: windows.slice(heldOutCount, wanted) };
  }

  /**
   * Windows without a token in common with those that `sample(sampled)` gives, nor with each other, chosen at random from the gaps
   * between them. Fewer than asked for where there is not enough room; 'text-too-short' where there is none.
   */
  heldOut(settings: SampleSettings, sampled: SampleSettings): Int32Array[] {
    const { count = defaultCount, length = defaultLength, seed = 0 } = settings;
    const tokens = this.tokenIds.length;
    const taken = new Uint8Array(tokens);
    const { length: sampledLength = defaultLength } = sampled;
    for (const start of sampleStarts(tokens, sampled)) taken.fill(1, start, start + sampledLength);
    const starts: number[] = [];
    let free = 0;
    for (let place = 0; place < tokens; place++) {
      free = taken[place] ? 0 : free + 1;
      if (free < length) continue;
      starts.push(place + 1 - length);
      free = 0;
    }
    if (starts.length === 0) {
      throw new KvlrError('text-too-short', {
        message: `expected room for a held-out window of ${length} tokens beside those that are sampled, got none in ${tokens} tokens`,
        hint: 'Pass more text, or ask for shorter held-out windows, or sample fewer.',
        where: { argument: 'calibration text' },
        data: { required: length, available: tokens, purpose: 'calibration' },
      });
    }
    const wanted = Math.min(count, starts.length);
    shuffleFirst(starts, wanted, seed);
    return starts.slice(0, wanted).map((start) => this.window(start, length));
  }

  private window(start: number, length: number): Int32Array {
    return this.tokenIds.slice(start, start + length);
  }
}

const defaultCount = 48;
const defaultLength = 512;

/** Where the windows of a sample begin in a stream of so many tokens. */
function sampleStarts(tokens: number, settings: SampleSettings): number[] {
  const { count = defaultCount, length = defaultLength, seed = 0 } = settings;
  requireTokens('calibration', tokens, length);
  const random = createRandom(seed);
  return Array.from({ length: count }, () => Math.floor(random() * (tokens - length + 1)));
}

/** Puts `count` items, chosen at random, in front (Fisher and Yates). */
function shuffleFirst(items: unknown[], count: number, seed: number): void {
  const random = createRandom(seed);
  for (let place = 0; place < count; place++) {
    const chosen = place + Math.floor(random() * (items.length - place));
    [items[place], items[chosen]] = [items[chosen], items[place]];
  }
}
