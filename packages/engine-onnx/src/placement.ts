/** Where the tokens of a window stand in their texts, and which of them see which. */
export interface Placement {
  positions: Int32Array;
  /** The branch of each token; -1 for the beginning that all share. Absent where there is one text. */
  branches?: Int32Array;
}

/** Texts with one beginning as one window: the beginning once, the ends side by side, of which none sees another. */
export interface BranchedWindow {
  prefix: Int32Array;
  branches: readonly Int32Array[];
}

/** One text from its first token on. */
export function inOrder(tokens: number): Placement {
  return { positions: Int32Array.from({ length: tokens }, (_, position) => position) };
}

/** The tokens of a branched window: the beginning, then branch after branch. */
export function placeBranches({ prefix, branches }: BranchedWindow): { tokenIds: Int32Array; placement: Placement } {
  const tokens = branches.reduce((total, { length }) => total + length, prefix.length);
  const tokenIds = new Int32Array(tokens);
  const placement = { positions: new Int32Array(tokens), branches: new Int32Array(tokens).fill(-1) };
  tokenIds.set(prefix);
  placement.positions.set(prefix.map((_, place) => place));
  let start = prefix.length;
  for (const [index, branch] of branches.entries()) {
    tokenIds.set(branch, start);
    placement.branches.fill(index, start, start + branch.length);
    for (const place of branch.keys()) placement.positions[start + place] = prefix.length + place;
    start += branch.length;
  }
  return { tokenIds, placement };
}

/** Whether one token's query meets another's key: both in one text, not later, and not further back than the window. */
export function sees(
  { positions, branches }: Placement,
  query: number,
  key: number,
  window = Number.POSITIVE_INFINITY,
): boolean {
  const isSameText = branches === undefined || branches[key] === -1 || branches[key] === branches[query];
  return isSameText && key <= query && positions[query]! - positions[key]! < window;
}
