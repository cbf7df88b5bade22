import { KvlrError } from '@kvlr/core';

/** How every GGUF file begins. */
export const ggufMagic = 'GGUF';

export function isGgufName(name: string): boolean {
  return name.toLowerCase().endsWith('.gguf');
}

/** One of several files that are one model: name-00001-of-00003.gguf. */
const partOfModel = /-(\d{5})-of-(\d{5})\.gguf$/i;

/**
 * Which GGUF file of a directory or repository is meant. `wanted` is the name of a file, or how weights are quantised (Q4_K_M), which file
 * names end in. Without it GGUF files count only where there is no checkpoint in Hugging Face form, and there has to be one.
 * Undefined: the checkpoint in Hugging Face form is meant.
 * Throws 'file-missing' and 'invalid-argument', naming the files that there are, and 'unsupported-feature' for a part of a model.
 */
export function chooseGguf(names: readonly string[], location: string, wanted?: string): string | undefined {
  const isCheckpoint = names.includes('config.json') && names.some((name) => name.endsWith('.safetensors'));
  // What projects pictures lies beside the model that reads them.
  const models = names.filter((name) => isGgufName(name) && !/^mmproj/i.test(name));
  if (wanted === undefined && (isCheckpoint || models.length === 0)) return undefined;
  const fitting = wanted === undefined ? models : models.filter((name) => isMeant(name, wanted));
  const [file, ...more] = fitting;
  const data = { location, files: models };
  if (file === undefined) {
    throw new KvlrError('file-missing', {
      message: `expected a GGUF file ${wanted} in ${location}, found ${models.length === 0 ? 'no GGUF file' : models.join(', ')}`,
      hint: 'Name one of the files that are there.',
      data,
    });
  }
  const [, part, parts] = partOfModel.exec(file) ?? [];
  if (part !== undefined && fitting.every((name) => name.replace(partOfModel, '') === file.replace(partOfModel, ''))) {
    throw new KvlrError('unsupported-feature', {
      message: `expected a whole model, got ${file}, one of ${Number(parts)} parts`,
      hint: 'Load the parts and join them first with llama.cpp: llama-gguf-split --merge FIRST-PART.gguf OUT.gguf.',
      data,
    });
  }
  if (more.length === 0) return file;
  throw new KvlrError('invalid-argument', {
    message: `expected one model in ${location}, got ${fitting.join(', ')}`,
    hint: 'Name the GGUF file that is meant: DIRECTORY/FILE on disk; on the hub OWNER/NAME/FILE, or OWNER/NAME:Q4_K_M by its quantisation.',
    data,
  });
}

function isMeant(name: string, wanted: string): boolean {
  const [file, wish] = [name.toLowerCase(), wanted.toLowerCase()];
  if (isGgufName(wanted)) return file === wish;
  const stem = file.replace(partOfModel, '.gguf').slice(0, -'.gguf'.length);
  return stem === wish || (stem.endsWith(wish) && /[-._]/.test(stem.at(-wish.length - 1)!));
}
