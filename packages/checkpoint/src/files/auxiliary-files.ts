import type { CheckpointFiles } from './checkpoint-files.ts';

/**
 * The small files that travel with a model whatever its weights: tokenizer, generation settings, chat template, licence.
 * Left out: weights and their indices, config.json, and the model card, which describes another model.
 */
export async function auxiliaryFiles(files: CheckpointFiles): Promise<Record<string, Uint8Array>> {
  const names = (await files.list()).filter(isAuxiliary);
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await files.read(name)] as const)));
}

function isAuxiliary(name: string): boolean {
  if (name.includes('/') || name.startsWith('.') || name === 'config.json' || name.endsWith('.index.json'))
    return false;
  return (
    /\.(json|jinja|tiktoken)$/.test(name) ||
    /^(tokenizer|spiece)\.model$|^(vocab|merges)\.txt$|^(LICENSE|NOTICE)/.test(name)
  );
}
