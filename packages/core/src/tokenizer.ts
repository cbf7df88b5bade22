/** Port: text to token ids and back. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly beginOfSequenceId: number | undefined;
  readonly endOfSequenceIds: number[];
  /** Ids of the text alone: no special tokens are added, special tokens written in the text are not recognised. */
  encode(text: string): number[];
  decode(ids: readonly number[], settings?: { skipSpecialTokens?: boolean }): string;
}
