const normBeforeRotation =
  'normalises queries and keys between their projections and RoPE, so that the keys of several heads have no exact merge';
const headSlopes =
  'has no RoPE but ALiBi, slopes that belong to the numbers of the query heads, and kvlr does not run such a decoder';

/** Why families that people ask for cannot be compressed, by model_type. */
export const unsupportedFamilies: ReadonlyMap<string, string> = new Map([
  ['bloom', headSlopes],
  ['mpt', headSlopes],
  ['gemma3', normBeforeRotation],
  ['gemma3_text', normBeforeRotation],
  ['olmo2', normBeforeRotation],
  ['qwen3', normBeforeRotation],
]);
