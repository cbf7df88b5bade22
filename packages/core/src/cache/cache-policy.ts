/** What one KV slot of a layer holds when a policy is asked: T tokens, in the order of their positions. */
export interface HeldTokens {
  layer: number;
  slot: number;
  /** Positions of the tokens in the text, ascending, [T]. */
  positions: Int32Array;
  /** Keys and values as attention reads them, [T, width]. */
  keys: Float32Array;
  values: Float32Array;
  /** Width of a key and of a value. */
  keyWidth: number;
  valueWidth: number;
  /**
   * What the last queries looked at: attention probabilities, averaged over the query heads of the slot, [queries, T]. Of the
   * `observedQueries` that the policy asks for, or of as many as there are.
   */
  attention: Float32Array;
  queries: number;
  /** Attention that each token has had from all queries so far, averaged likewise, [T]. */
  attentionSum: Float32Array;
  /**
   * For policies with `readsAgain`: the greatest attention that each token has had while the text was read again behind all of it, of any
   * query and any query head of the slot, [T].
   */
  greatest?: Float32Array | undefined;
  /** Tokens that each stands for, [T]: 1, or what a policy said of merged ones. */
  counts: Float32Array;
  /** Most tokens that may stay, at least 1. */
  budget: number;
}

/** What stays in the slot. */
export interface KeptTokens {
  /** Places among the T tokens, ascending, no more than the budget. */
  places: Int32Array;
  /** What the tokens at these places hold from now on, [places, width]; left out where nothing is merged. */
  keys?: Float32Array | undefined;
  values?: Float32Array | undefined;
  /** How many tokens those at these places stand for from now on, [places]: their scores count so often. Of policies with `countsTokens`. */
  counts?: Float32Array | undefined;
}

/** A policy, and the share of the tokens that it lets stay. */
export interface PolicySettings {
  policy: CachePolicy;
  /** Above 0, at most 1. */
  keep: number;
}

/** A slot's queries of one token, and the chunks of which they may read some. */
export interface ChunkQuery {
  /** Queries of the slot's heads, rotated and scaled, [heads, keyWidth]. */
  queries: Float32Array;
  keyWidth: number;
  /** Mean of the keys of each chunk whose values are not all on the device, in halves, [chunks, keyWidth]. */
  landmarks: Float32Array;
  /** Most chunks that may be read, at least 1 and fewer than there are. */
  count: number;
}

/** How values that lie in host memory are chosen, in whole chunks of neighbouring tokens. */
export interface ChunkFetching {
  /** Tokens of a chunk: 1, 2, 4, 8, 16 or 32. */
  chunkTokens: number;
  /** Places among the chunks that are read, ascending, no more than `count`. Asked for every token. */
  choose(asked: ChunkQuery): Int32Array;
}

/** Port: which tokens of a cache stay, which are merged into others, and which are read when they are looked for. Asked slot by slot, so slots may keep different tokens. */
export interface CachePolicy {
  /** One line for tables and help texts. */
  title: string;
  /** Paper that it comes from. */
  source?: string | undefined;
  /** Queries whose attention it looks at. */
  observedQueries: number;
  /** Whether tokens may stand for several others: then each has its count beside it, four bytes. */
  countsTokens?: boolean | undefined;
  /**
   * Whether it is asked when a text has been read, and read once more behind all of it, in place of after every so many tokens. Tokens that
   * are generated behind the text stay.
   */
  readsAgain?: boolean | undefined;
  /**
   * How a layer's budget is spread over its slots: a weight from 0 for each, in their order. Left out: all slots keep as many tokens. Budgets
   * of what is asked are those of an even spread.
   */
  spread?(slots: readonly HeldTokens[]): number[];
  /**
   * With it no token is dropped: keys and a landmark of each chunk are on the device, values lie in host memory. A query reads the tokens that
   * `keep` names, whose values never leave the device, those of the chunks that it chooses, as far as the budget goes, and the newest ones.
   */
  fetches?: ChunkFetching | undefined;
  keep(held: HeldTokens): KeptTokens;
}
