/** Port: text to token ids and back. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly beginOfSequenceId: number | undefined;
  readonly endOfSequenceIds: number[];
  /**
   * Ids of the text alone: no special tokens are added, and special tokens written in the text are not recognised, unless
   * asked for, as for what a chat template made.
   */
  encode(text: string, settings?: { recogniseSpecialTokens?: boolean }): number[];
  decode(ids: readonly number[], settings?: { skipSpecialTokens?: boolean }): string;
}
