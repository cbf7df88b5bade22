/**
 * Of the files of a model's repository those that a checkpoint consists of: safetensors as transformers names them, configs,
 * tokenizer, chat template and licence, all in the topmost folder.
 */
export function isCheckpointFile(name: string): boolean {
  if (name.includes('/') || name.startsWith('.')) return false;
  return (
    /^model(-\d+-of-\d+)?\.safetensors$/.test(name) ||
    /\.(json|jinja|tiktoken)$/.test(name) ||
    /^(tokenizer|spiece)\.model$|^(vocab|merges)\.txt$|^(LICENSE|NOTICE)/.test(name)
  );
}
