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
