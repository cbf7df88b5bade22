/** How a byte-level BPE tokenizer splits words before it merges, as a tokenizer.json says it and as llama.cpp calls it. */
export interface PreTokenizerRule {
  /** Values of tokenizer.ggml.pre: the first is written, all are read. */
  names: readonly string[];
  /** pre_tokenizer of the tokenizer.json: its steps. */
  steps: readonly PreTokenizerStep[];
  /** True where a word that is a token is that token, whatever the merges say. */
  ignoreMerges?: true;
  /** True where the begin-of-sequence token is added unless the file says otherwise. */
  addsBeginOfSequence?: true;
  /** True where llama.cpp leaves out the step that parts digits, which shows only if some token mixes them with others. */
  digitsApart?: true;
  /** normalizer of the tokenizer.json. llama.cpp has none. */
  normalizer?: 'NFC';
}

type PreTokenizerStep =
  | { type: 'ByteLevel'; use_regex: boolean }
  | { type: 'Digits'; individual_digits: boolean }
  | { type: 'Punctuation'; behavior: 'Contiguous' }
  | { type: 'Split'; pattern: { Regex: string }; behavior: 'Isolated' };

const bytes = { type: 'ByteLevel', use_regex: false } as const;
/** Splits as GPT-2 does. */
const gpt2 = { type: 'ByteLevel', use_regex: true } as const;
const split = (regex: string): PreTokenizerStep => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
});

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const spaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
/** Llama 3's pattern, with digits in groups of up to three; Qwen 2 takes them one by one. */
const llama3 = (digits: string) =>
  split(`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`);
/** GPT-4o's pattern, by upper and lower case. */
const cases = (ending: string, digits: string) => {
  const [upper, lower] = ['[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'];
  const word = (many: string) =>
    `[^\\r\\n\\p{L}\\p{N}]?${upper}${many === '*' ? '*' : '+'}${lower}${many === '*' ? '+' : '*'}`;
  return split(`${word('*')}${ending}|${word('+')}${ending}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`);
};

/** The rules that kvlr knows of llama.cpp's (llama-vocab.cpp), one for each way of splitting. */
export const preTokenizerRules: readonly PreTokenizerRule[] = [
  {
    names: [
      'gpt-2',
      'phi-2',
      'mpt',
      'olmo',
      'jais',
      'trillion',
      'exaone4',
      'mellum',
      'modern-bert',
      'gigachat',
      'a.x-4.0',
    ],
    steps: [gpt2],
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    steps: [{ type: 'Digits', individual_digits: true }, gpt2],
  },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'pixtral', 'midm-2.0', 'lfm2'],
    steps: [llama3('\\p{N}{1,3}'), bytes],
    ignoreMerges: true,
    addsBeginOfSequence: true,
  },
  { names: ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], steps: [llama3('\\p{N}{1,3}'), bytes] },
  {
    names: ['qwen2', 'deepseek-r1-qwen', 'megrez', 'kormo', 'hunyuan', 'solar-open', 'grok-2'],
    steps: [llama3('\\p{N}'), bytes],
    normalizer: 'NFC',
  },
  { names: ['stablelm2'], steps: [llama3('\\p{N}'), bytes] },
  {
    names: ['tekken'],
    steps: [cases('', '\\p{N}'), bytes],
    ignoreMerges: true,
    addsBeginOfSequence: true,
  },
  { names: ['gpt-4o', 'llama4', 'kanana2'], steps: [cases(`${contractions}?`, '\\p{N}{1,3}'), bytes] },
  { names: ['bloom', 'gpt3-finnish', 'poro-chat'], steps: [split(' ?[^(\\s|[.,!?…。，、।۔،])]+'), bytes] },
  {
    names: ['falcon'],
    steps: [
      { type: 'Punctuation', behavior: 'Contiguous' },
      gpt2,
      { type: 'Digits', individual_digits: false },
      split('[0-9][0-9][0-9]'),
    ],
    digitsApart: true,
  },
  {
    names: ['default'],
    steps: [
      split('[\\p{P}\\$\\+<=>\\^~\\|]+'),
      split("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"),
      split('\\p{N}+'),
      split('[0-9][0-9][0-9]'),
      bytes,
    ],
  },
];

/** The rule of llama.cpp's name for it. */
export function ruleOfName(name: string): PreTokenizerRule | undefined {
  return preTokenizerRules.find(({ names }) => names.includes(name));
}

interface RawStep {
  type?: string;
  use_regex?: boolean;
  add_prefix_space?: boolean;
  individual_digits?: boolean;
  behavior?: string;
  invert?: boolean;
  pattern?: { Regex?: string };
  pretokenizers?: RawStep[];
}

/** The rule that a tokenizer.json's pre_tokenizer and ignore_merges say; undefined for any other. */
export function ruleOfTokenizer(preTokenizer: unknown, ignoreMerges: boolean): PreTokenizerRule | undefined {
  const raw = preTokenizer as RawStep | null;
  const steps = raw?.type === 'Sequence' ? (raw.pretokenizers ?? []) : raw === null ? [] : [raw];
  if (steps.some(({ add_prefix_space: prefix }) => prefix === true)) return undefined;
  const signature = steps.map(signatureOf).join('\n');
  const alike = preTokenizerRules.filter((rule) => rule.steps.map(signatureOf).join('\n') === signature);
  return alike.find((rule) => (rule.ignoreMerges ?? false) === ignoreMerges);
}

/** What a step does, whatever else its description mentions. */
function signatureOf({
  type,
  use_regex: regex = true,
  individual_digits: single,
  pattern,
  behavior,
  invert,
}: RawStep): string {
  if (type === 'ByteLevel') return `bytes ${regex}`;
  if (type === 'Digits') return `digits ${single === true}`;
  if (type === 'Punctuation') return `punctuation ${behavior}`;
  return type === 'Split' && behavior === 'Isolated' && invert !== true ? `split ${pattern?.Regex}` : `other ${type}`;
}
