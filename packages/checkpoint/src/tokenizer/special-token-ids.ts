import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { readJsonObject } from '../files/read-json-object.ts';
import type { AddedToken } from './tokenizer-file.ts';

export interface SpecialTokenIds {
  beginOfSequenceId: number | undefined;
  /** The tokenizer's own end of sequence first, then others that stop generation. */
  endOfSequenceIds: number[];
  /** Whether the model expects the begin-of-sequence token before a text. */
  addBeginOfSequence: boolean;
}

/**
 * Which tokens begin and end a text: the tokens named in tokenizer_config.json, then the ids in generation_config.json
 * and config.json, which may name several that end generation.
 */
export async function readSpecialTokenIds(
  files: CheckpointFiles,
  vocabulary: ReadonlyMap<string, number>,
  addedTokens: readonly AddedToken[],
): Promise<SpecialTokenIds> {
  const present = await files.list();
  const readIfPresent = async (name: string): Promise<Record<string, unknown>> =>
    present.includes(name) ? readJsonObject(files, name) : {};
  const tokenizerConfig = await readIfPresent('tokenizer_config.json');
  const generationConfig = await readIfPresent('generation_config.json');
  const config = await readIfPresent('config.json');

  const added = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const idOfToken = (token: unknown): number | undefined => {
    const content = typeof token === 'string' ? token : (token as { content?: string } | null | undefined)?.content;
    return content === undefined ? undefined : (added.get(content) ?? vocabulary.get(content));
  };
  const ids = (value: unknown): number[] =>
    (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isSafeInteger(id));

  const beginOfSequenceId =
    idOfToken(tokenizerConfig.bos_token) ?? ids(generationConfig.bos_token_id)[0] ?? ids(config.bos_token_id)[0];
  const endOfSequenceIds = [
    idOfToken(tokenizerConfig.eos_token),
    ...ids(generationConfig.eos_token_id),
    ...ids(config.eos_token_id),
  ].filter((id) => id !== undefined);
  return {
    beginOfSequenceId,
    endOfSequenceIds: [...new Set(endOfSequenceIds)],
    addBeginOfSequence: beginOfSequenceId !== undefined && tokenizerConfig.add_bos_token !== false,
  };
}
