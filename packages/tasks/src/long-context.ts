import { createRandom, KvlrError, type RunControl, type Tokenizer, throwIfAborted } from '@kvlr/core';
import { estimateMean } from '@kvlr/evaluation';
import type { MetricEstimate } from './scoring/metrics.ts';
import type { ScoredSequence, TaskModel } from './scoring/task-model.ts';

export interface LongContextSettings {
  /** Tokens before the question. Default 128, 256, 512 and 900, as far as the model has positions. */
  lengths?: readonly number[];
  /** Where in them the answer stands: 0 at the beginning, 1 at the end. Default 0, 0.5, 0.9. */
  depths?: readonly number[];
  /** Probes of each kind at each length and depth. Default 8. */
  probes?: number;
  seed?: number;
}

/** How much a model draws from one place of a context. */
export interface LongContextCell {
  length: number;
  depth: number;
  /**
   * Copying: by how much a passage of 24 tokens is likelier at its second time, nats a token over its last 16, than in the same text
   * without the first time.
   */
  copyGain: MetricEstimate;
  /** The same of each probe. */
  copyGains: number[];
  /** Needle: how often the name that a sentence told is found likelier than three others, by its first token; by chance a quarter. */
  needle: MetricEstimate;
}

/** Perplexity of tokens by their place in a text. */
export interface PositionPerplexity {
  /** Places from `from`, below `to`; the first token has place 0 and is not predicted. */
  from: number;
  to: number;
  /** exp of the mean over texts. */
  perplexity: MetricEstimate;
  /** Mean negative log-likelihood of these places in each text, nats a token. */
  losses: number[];
}

export interface LongContextResult {
  cells: LongContextCell[];
  positions: PositionPerplexity[];
}

const passageTokens = 24;
/** A repetition is only seen to be one after some tokens. */
const cueTokens = 8;
const names = ['Aaron', 'Daniel', 'David', 'Joseph', 'Moses', 'Peter', 'Samuel', 'Solomon'];
const things = ['keeper of the gate', 'captain of the ship', 'master of the house', 'writer of the letter'];
const choiceCount = 4;

/**
 * What a model with its cache remembers of a long context: copies of a passage and a needle in filler text, by length and depth, and
 * perplexity by position. Probes are cut from the texts' tokens by a seed: all models of one tokenizer are asked the same.
 *
 * @param texts Token ids of texts, without what the tokenizer puts before them.
 * @throws KvlrError 'text-too-short' where no text is twice as long as the longest context, 'aborted'.
 */
export async function probeLongContext(
  model: TaskModel,
  tokenizer: Tokenizer,
  texts: readonly (readonly number[])[],
  settings: LongContextSettings = {},
  control: RunControl = {},
): Promise<LongContextResult> {
  const { depths = [0, 0.5, 0.9], probes = 8, seed = 0 } = settings;
  const room = model.maxPositions - passageTokens - 1;
  const lengths = settings.lengths ?? [128, 256, 512, 900].filter((length) => length <= room);
  const longest = Math.max(...lengths);
  const pieces = createPieces(texts, longest, seed);
  const cells: LongContextCell[] = [];
  const total = lengths.length * depths.length + 1;
  for (const length of lengths) {
    for (const depth of depths) {
      const gains: number[] = [];
      const found: number[] = [];
      for (let probe = 0; probe < probes; probe++) {
        throwIfAborted(control.signal);
        gains.push(await copyGain(model, tokenizer, pieces, length, depth));
        found.push(Number(await findsNeedle(model, tokenizer, pieces, length, depth)));
      }
      cells.push({ length, depth, copyGain: meanOf(gains), copyGains: gains, needle: meanOf(found) });
      tellProgress(control, cells.length, total);
    }
  }
  const positions = await perplexityByPosition(model, tokenizer, pieces, longest, probes, control.signal);
  tellProgress(control, total, total);
  return { cells, positions };
}

function tellProgress({ onEvent }: RunControl, completed: number, total: number): void {
  onEvent?.({ type: 'progress', stage: 'evaluation', completed, total, unit: 'cells', detail: 'long context' });
}

/** How a model does against another that was asked the same. */
export interface LongContextChange {
  /** Copying: gain less that of the other, nats a token, paired over probes, cell by cell. */
  copyGains: MetricEstimate[];
  /** Perplexity over that of the other, paired over texts, stretch by stretch. */
  perplexities: MetricEstimate[];
}

/** Compares what two models remember, probe by probe and text by text, so that what is hard for both adds no uncertainty. */
export function compareLongContexts(one: LongContextResult, other: LongContextResult): LongContextChange {
  return {
    copyGains: one.cells.map(({ copyGains }, cell) => meanOf(differences(copyGains, other.cells[cell]!.copyGains))),
    perplexities: one.positions.map(({ losses }, stretch) =>
      perplexityOf(differences(losses, other.positions[stretch]!.losses)),
    ),
  };
}

function differences(values: readonly number[], others: readonly number[]): number[] {
  return values.map((value, index) => value - others[index]!);
}

function meanOf(values: readonly number[]): MetricEstimate {
  const { value, standardError } = estimateMean(
    values.map((mean) => ({ source: '', mean })),
    1,
  );
  return { value, standardError };
}

/** Stretches of text at random places, and random choices. */
interface Pieces {
  take(length: number): number[];
  choose<Value>(values: readonly Value[]): Value;
}

function createPieces(texts: readonly (readonly number[])[], longest: number, seed: number): Pieces {
  const needed = 2 * longest;
  const long = texts.filter((ids) => ids.length >= needed);
  if (long.length === 0) {
    throw new KvlrError('text-too-short', {
      message: `expected a text of at least ${needed} tokens, got at most ${Math.max(0, ...texts.map((ids) => ids.length))}`,
      hint: 'Pass longer texts, or ask for shorter contexts.',
      where: { argument: 'evaluation text' },
      data: { required: needed },
    });
  }
  const random = createRandom(seed);
  const choose = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!;
  return {
    choose,
    take(length) {
      const ids = choose(long);
      const start = Math.floor(random() * (ids.length - length));
      return ids.slice(start, start + length);
    },
  };
}

/** Filler with something in it: `length` tokens, the first of which may begin texts. */
function withInsertion(filler: number[], inserted: readonly number[], depth: number, tokenizer: Tokenizer): number[] {
  const before = tokenizer.prefixIds;
  const space = filler.length - before.length - inserted.length;
  const place = Math.round(depth * space);
  return [...before, ...filler.slice(0, place), ...inserted, ...filler.slice(place, space)];
}

async function copyGain(
  model: TaskModel,
  tokenizer: Tokenizer,
  pieces: Pieces,
  length: number,
  depth: number,
): Promise<number> {
  // From one stretch, so that none of them holds a part of another.
  const stretch = pieces.take(length + 2 * passageTokens);
  const filler = stretch.slice(0, length);
  const other = stretch.slice(length, length + passageTokens);
  const passage = stretch.slice(length + passageTokens);
  const [seen, unseen] = await model.score(
    [passage, other].map((inserted): ScoredSequence => {
      const context = withInsertion(filler, inserted, depth, tokenizer);
      return { tokenIds: Int32Array.from([...context, ...passage]), from: context.length + cueTokens };
    }),
  );
  return (seen!.logLikelihood - unseen!.logLikelihood) / (passageTokens - cueTokens);
}

async function findsNeedle(
  model: TaskModel,
  tokenizer: Tokenizer,
  pieces: Pieces,
  length: number,
  depth: number,
): Promise<boolean> {
  const told = pieces.choose(names);
  const thing = pieces.choose(things);
  const cue = ` The name of the ${thing} was`;
  const filler = pieces.take(length);
  const context = withInsertion(filler, tokenizer.encode(`${cue} ${told}.`), depth, tokenizer);
  const first = names.indexOf(told);
  const candidates = Array.from({ length: choiceCount }, (_, step) => names[(first + 2 * step) % names.length]!);
  const asked = [...context, ...tokenizer.encode(cue)];
  const scores = await model.score(
    beginningsOf(candidates, tokenizer).map(
      (ids): ScoredSequence => ({ tokenIds: Int32Array.from([...asked, ...ids]), from: asked.length }),
    ),
  );
  const values = scores.map(({ logLikelihood }) => logLikelihood);
  return values.indexOf(Math.max(...values)) === 0;
}

/** The first token of each name, so that names of many tokens are not the less likely; whole names where that does not tell them apart. */
function beginningsOf(candidates: readonly string[], tokenizer: Tokenizer): number[][] {
  const whole = candidates.map((name) => tokenizer.encode(` ${name}`));
  const differ = new Set(whole.map(([first]) => first)).size === candidates.length;
  return differ ? whole.map((ids) => ids.slice(0, 1)) : whole;
}

/** Places double: 1 to 16, to 32, and so on. Each stretch is scored behind the ones before it. */
async function perplexityByPosition(
  model: TaskModel,
  tokenizer: Tokenizer,
  pieces: Pieces,
  longest: number,
  texts: number,
  signal: AbortSignal | undefined,
): Promise<PositionPerplexity[]> {
  const borders = [1];
  while (borders.at(-1)! < longest) borders.push(Math.min(longest, Math.max(32, 2 * borders.at(-1)!)));
  const stretches = borders.slice(1).map((to, index) => ({ from: borders[index]!, to, losses: [] as number[] }));
  for (let text = 0; text < 2 * texts; text++) {
    throwIfAborted(signal);
    const ids = Int32Array.from([...tokenizer.prefixIds, ...pieces.take(longest - tokenizer.prefixIds.length)]);
    const scores = await model.score(stretches.map(({ from, to }) => ({ tokenIds: ids.subarray(0, to), from })));
    scores.forEach(({ logLikelihood }, index) => {
      const { from, to, losses } = stretches[index]!;
      losses.push(-logLikelihood / (to - from));
    });
  }
  return stretches.map(({ from, to, losses }) => ({ from, to, perplexity: perplexityOf(losses), losses }));
}

/** exp of the mean, its standard error by the delta method. */
function perplexityOf(losses: readonly number[]): MetricEstimate {
  const { value, standardError } = meanOf(losses);
  const perplexity = Math.exp(value);
  return { value: perplexity, standardError: standardError === undefined ? undefined : perplexity * standardError };
}
