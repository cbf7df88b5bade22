import type { CacheFormat } from '../cache/cache-format.ts';
import { fourNumbers } from '../cache/slot-codec-webgpu.ts';
import { each, range } from '../webgpu/shader-text.ts';
import { cacheConstants, type DecodePlan, ENTRIES_AT_ONCE, FEW_WORDS } from './workgroup-plan.ts';

// The words of a cache that a lane of decode attention reads, written out one by one.

/** Words that a lane holds at once at most, four entries' of each, for values to be loaded together with keys. */
const MOST_WORDS_TOGETHER = 16;
/** The same, for the words of the next four to be loaded ahead. */
const MOST_WORDS_AHEAD = 8;
/** Numbers of queries that a lane keeps in registers at most. */
const MOST_QUERY_NUMBERS = 64;

export interface WordsOfLane {
  /** Sums of a head that a lane keeps, as WGSL variables, that of offsets included. */
  sums(h: number): string[];
  /** WGSL before the entries: places, queries, sums. Knows `part`. */
  prepare: string;
  /** Before the entries, once `entries` are the first four: loads words that are loaded ahead. */
  loadFirst: string;
  /** Loads four entries' words, or takes those that were loaded ahead and loads the next. Knows `entries`. */
  load: string;
  /** Adds a lane's share of the scores to `s{h}`. */
  score: string;
  /** Adds values by the weights `s{h}` to the sums. */
  add: string;
  /** Behind the entries. */
  finish: string;
  /** Adds the sums times `factor{h}` of the heads of a value slot to `numbers`; the first of the `round`s sets them. */
  writeSums(slot: number): string;
}

/** The WGSL of a lane's words. Scales and offsets of coded numbers are applied to sums, not to every number. */
export function wordsOfLane(format: CacheFormat, plan: DecodePlan, { variants }: { variants: number }): WordsOfLane {
  const { heads, keySlots, valueSlots } = plan;
  const { perWord, headerSize, keyNumberWords, valueNumberWords } = cacheConstants(format);
  const isCoded = headerSize === 1;
  const headsOf = (slot: number, slots: number) => range(heads / slots).map((n) => (slot * heads) / slots + n);
  const keys = new Slots(format, plan, {
    ...{ kind: 'key', wordsPerLane: plan.keyWordsPerLane, numberWords: keyNumberWords },
    startOf: (slot) => `(work.firstKeySlot + ${slot}) * keySlotWords`,
  });
  const values = new Slots(format, plan, {
    ...{ kind: 'value', wordsPerLane: plan.valueWordsPerLane, numberWords: valueNumberWords },
    startOf: (slot) => `allKeySlots * keySlotWords + (work.firstValueSlot + ${slot}) * valueSlotWords`,
  });

  const holdsQueries = variants === 1 && keys.blocks === 1 && heads * keys.numbers <= MOST_QUERY_NUMBERS;
  const query = (variant: number, h: number, n: number) =>
    holdsQueries ? `query${h}_${n}` : `queryAt(work, ${variant}, ${h}, ${keys.columnAt(n)})`;
  const ofVariants = (text: (variant: number) => string) =>
    variants === 1 ? text(0) : `select(vec4<f32>(${text(0)}), vec4<f32>(${text(1)}), isSink)`;
  // An offset counts as often as the numbers of the query add up to.
  const querySums = (variant: number) =>
    each(heads, (h) => `var querySum${h}_${variant} = 0.0;`, ' ') +
    keys.inBlocks(
      each(heads, (h) => each(keys.numbers, (n) => `querySum${h}_${variant} += ${query(variant, h, n)};`, ' ')),
    );

  const wordsOfAll = keySlots * keys.words + valueSlots * values.words;
  const areTogether = keys.blocks + values.blocks === 2 && wordsOfAll <= MOST_WORDS_TOGETHER;
  const isAhead = areTogether && wordsOfAll <= MOST_WORDS_AHEAD;
  const scoreSlot = (slot: number) => {
    const ofSlot = headsOf(slot, keySlots);
    const addNumber = (n: number) =>
      ofSlot.map((h) => `s${h} += ${ofVariants((variant) => query(variant, h, n))} * four;`).join(' ');
    const scale = (h: number) =>
      `s${h} = ${keys.scales(slot)} * s${h} + ${keys.offsets(slot)} * ${ofVariants((variant) => `querySum${h}_${variant}`)};`;
    return `${keys.inBlocks(`${areTogether ? '' : declared(keys.load(slot))} ${keys.eachNumber(slot, addNumber)}`)}
      ${isCoded ? ofSlot.map(scale).join('\n') : ''}`;
  };

  const sum = (h: number, n: number) =>
    values.blocks === 1 ? `sum${h}_${n}` : `sums${h}[block * ${values.numbers} + ${n}]`;
  const addSlot = (slot: number) => {
    const ofSlot = headsOf(slot, valueSlots);
    const addNumber = (n: number) => ofSlot.map((h) => `${sum(h, n)} = plusDot(${sum(h, n)}, s${h}, four);`).join(' ');
    const scale = (h: number) => `
      offset${h} = plusDot(offset${h}, s${h}, ${values.offsets(slot)});
      s${h} *= ${values.scales(slot)};`;
    return `${isCoded ? ofSlot.map(scale).join('') : ''}
      ${values.inBlocks(`${areTogether ? '' : declared(values.load(slot))} ${values.eachNumber(slot, addNumber)}`)}`;
  };
  const declareSums = (h: number) =>
    values.blocks === 1
      ? each(values.numbers, (n) => `var ${sum(h, n)} = 0.0;`, ' ')
      : `var sums${h} = array<f32, ${values.blocks * values.numbers}>();`;
  const addToNumbers = (h: number, n: number) => {
    const place = `numbers[${h} * valueSlotWidth + c]`;
    return `${place} = select(${place}, 0.0, round == 0) + factor${h} * ${sum(h, n)};`;
  };
  const slots = [
    ...range(keySlots).map((slot) => ({ of: keys, slot })),
    ...range(valueSlots).map((slot) => ({ of: values, slot })),
  ];
  const headers = slots.flatMap(({ of, slot }) => of.loadHeaders(slot));
  const together = areTogether ? slots.flatMap(({ of, slot }) => of.load(slot)) : [];
  const ahead = [...headers, ...together];
  return {
    sums: (h) => [
      ...(values.blocks === 1
        ? range(values.numbers).map((n) => sum(h, n))
        : range(values.blocks * values.numbers).map((n) => `sums${h}[${n}]`)),
      ...(isCoded ? [`offset${h}`] : []),
    ],
    prepare: [
      holdsQueries
        ? each(heads, (h) =>
            each(keys.numbers, (n) => `let query${h}_${n} = queryAt(work, 0, ${h}, ${keys.columnAt(n)});`),
          )
        : '',
      isCoded ? each(variants, querySums) : '',
      each(heads, (h) => `${isCoded ? `var offset${h} = 0.0;` : ''} ${declareSums(h)}`),
    ].join('\n'),
    loadFirst: isAhead
      ? `var at4 = placesOf(work, entries); ${ahead.map(({ name, value }) => `var next_${name} = ${value};`).join('\n')}`
      : '',
    load: isAhead
      ? `${ahead.map(({ name }) => `let ${name} = next_${name};`).join('\n')}
        at4 = placesOf(work, entries + vec4<i32>(teams * ${ENTRIES_AT_ONCE}));
        ${ahead.map(({ name, value }) => `next_${name} = ${value};`).join('\n')}`
      : `let at4 = placesOf(work, entries); ${declared(ahead)}`,
    score: each(keySlots, scoreSlot),
    add: each(valueSlots, addSlot),
    finish: isCoded
      ? each(heads, (h) => values.inBlocks(each(values.numbers, (n) => `${sum(h, n)} += offset${h};`, ' ')))
      : '',
    writeSums: (slot) =>
      values.inBlocks(
        each(
          values.numbers,
          (n) => `{
          let c = ${values.columnAt(n)};
          if (${values.wordAt(Math.floor(n / perWord))} < ${valueNumberWords} && c < valueSlotWidth) {
            ${headsOf(slot, valueSlots)
              .map((h) => addToNumbers(h, n))
              .join(' ')}
          }
        }`,
        ),
      ),
  };
}

/** A word, or four, of four entries: WGSL that loads it, and its name. */
interface Load {
  name: string;
  value: string;
}

function declared(loads: readonly Load[]): string {
  return loads.map(({ name, value }) => `let ${name} = ${value};`).join('\n');
}

interface SlotsOfKind {
  kind: 'key' | 'value';
  wordsPerLane: number;
  numberWords: number;
  /** WGSL: the first word of a slot, from an entry's on. */
  startOf(slot: number): string;
}

/**
 * A lane's words of the key slots or the value slots of a workgroup. Those of very wide slots come in blocks of `FEW_WORDS`, in a loop
 * over `block`.
 */
class Slots {
  readonly blocks: number;
  /** Of a block. */
  readonly words: number;
  readonly numbers: number;
  private readonly perWord: number;
  private readonly headerSize: number;

  constructor(
    private readonly format: CacheFormat,
    private readonly plan: DecodePlan,
    private readonly given: SlotsOfKind,
  ) {
    const { perWord, headerSize } = cacheConstants(format);
    this.blocks = Math.ceil(given.wordsPerLane / FEW_WORDS);
    this.words = Math.min(given.wordsPerLane, FEW_WORDS);
    this.numbers = this.words * perWord;
    this.perWord = perWord;
    this.headerSize = headerSize;
  }

  inBlocks(body: string): string {
    return this.blocks === 1 ? `{ ${body} }` : `for (var block = 0; block < ${this.blocks}; block++) { ${body} }`;
  }

  /** WGSL: where the n-th word, or load, of a block lies in its slot. */
  wordAt(word: number): string {
    const { atOnce } = this.plan;
    return `(${atOnce} * (part + ${this.loadInSlot(Math.floor(word / atOnce))} * team) + ${word % atOnce})`;
  }

  columnAt(n: number): string {
    return `(${this.wordAt(Math.floor(n / this.perWord))} * perWord + ${n % this.perWord})`;
  }

  /** Scales and offsets of a slot in four entries. */
  loadHeaders(slot: number): Load[] {
    return this.headerSize === 1
      ? [{ name: `${this.nameOf(slot)}Headers`, value: `wordsAt(${this.placeOf(slot)})` }]
      : [];
  }

  /** WGSL: what numbers as `eachNumber` gives them, 1 + code / 2^bits, are multiplied by; then `offsets` are added. */
  scales(slot: number): string {
    return `${2 ** (32 / this.perWord)}.0 * ${this.ofHeaders(slot, 'x')}`;
  }

  offsets(slot: number): string {
    return `(${this.ofHeaders(slot, 'y')} - ${this.scales(slot)})`;
  }

  /** The words of a block of a slot in four entries. */
  load(slot: number): Load[] {
    const { atOnce } = this.plan;
    const name = this.nameOf(slot);
    return range(this.words / atOnce).flatMap((j) => {
      const first = `min(${atOnce} * (part + ${this.loadInSlot(j)} * team), ${this.given.numberWords} - ${atOnce})`;
      const at = `${this.placeOf(slot)} + vec4<i32>(${this.headerSize} + ${first})`;
      if (atOnce === 1) return { name: `${name}_${j}`, value: `wordsAt(${at})` };
      return range(4).map((entry) => ({ name: `${name}_${j}_${entry}`, value: `cache[((${at}) / 4)[${entry}]]` }));
    });
  }

  /** WGSL: uses the numbers `four` of four entries, one column of a block after another. */
  eachNumber(slot: number, use: (n: number) => string): string {
    return each(
      this.words,
      (word) => `{
        let words = ${this.wordOf(slot, word)};
        ${each(this.perWord, (k) => `{ let four = ${fourNumbers(this.format.dtype, k)}; ${use(word * this.perWord + k)} }`)}
      }`,
    );
  }

  /** WGSL: the place of a slot in four entries. Knows `at4`. */
  private placeOf(slot: number): string {
    return `at4 + vec4<i32>(${this.given.startOf(slot)})`;
  }

  private loadInSlot(load: number): string {
    return this.blocks === 1 ? `${load}` : `(block * ${this.words / this.plan.atOnce} + ${load})`;
  }

  private nameOf(slot: number): string {
    return `${this.given.kind}${slot}`;
  }

  private wordOf(slot: number, word: number): string {
    const name = this.nameOf(slot);
    if (this.plan.atOnce === 1) return `${name}_${word}`;
    return `vec4<u32>(${each(4, (entry) => `${name}_${Math.floor(word / 4)}_${entry}[${word % 4}]`, ', ')})`;
  }

  private ofHeaders(slot: number, part: 'x' | 'y'): string {
    const name = this.nameOf(slot);
    return `vec4<f32>(${each(4, (entry) => `unpack2x16float(${name}Headers[${entry}]).${part}`, ', ')})`;
  }
}
