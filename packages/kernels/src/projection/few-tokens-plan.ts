import type { DeviceTraits } from '../webgpu/device-traits.ts';

/** Numbers of x that workgroup memory holds at once: 12 of the 16 KiB that all devices have. */
const HELD_NUMBERS = 3072;
const MOST_INVOCATIONS = 256;
/** Neighbours that share a row at most, and a workgroup has at least: as many as run in step on most cards. */
const MOST_LANES = 32;
/** Running sums of an invocation, so that they stay in registers. */
const MOST_SUMS = 32;
const MOST_ROWS_AT_ONCE = 4;
/** Numbers that a workgroup keeps of its teams, one for each token, of three kinds: squares, greatest results and their rows. */
const MOST_OF_TEAMS = 256;

export interface FewTokensCase {
  /** Of the matrix, or of one shard of it. */
  rows: number;
  /** Of a row, 16 bytes each. */
  chunks: number;
  /** vec4s of numbers in a chunk. */
  parts: number;
  tokens: number;
  /** 2 where the matrix has a pair, else 1. */
  matrices: number;
  /** Numbers of workgroup memory that are taken by something else; 0 by default. */
  taken?: number;
}

export interface FewTokensPlan {
  /** Neighbouring invocations that share rows: a team. A power of two. */
  lanes: number;
  teams: number;
  /** Rows that a team computes at once. */
  rowsOfTeam: number;
  /** Chunks of x in workgroup memory at once. */
  heldChunks: number;
  /** Whether a team lies in one subgroup. */
  subgroups: boolean;
}

/** Rows of a workgroup. */
export function rowsOfGroup({ teams, rowsOfTeam }: FewTokensPlan): number {
  return teams * rowsOfTeam;
}

/**
 * How a product with few tokens is divided: as many rows a workgroup as leave the device enough workgroups, for every one of them brings
 * x into its memory; and as many lanes a row as there are chunks for them.
 */
export function planFewTokens(
  { rows, chunks, parts, tokens, matrices, taken = 0 }: FewTokensCase,
  { subgroup, workgroups }: DeviceTraits,
): FewTokensPlan {
  const room = Math.floor((HELD_NUMBERS - taken) / (4 * parts * tokens));
  const heldChunks = room >= chunks ? chunks : room >= MOST_LANES ? room - (room % MOST_LANES) : powerBelow(room);
  const lanes = Math.min(MOST_LANES, powerAbove(heldChunks));
  const rowsAtOnce = Math.min(MOST_ROWS_AT_ONCE, powerBelow(MOST_SUMS / (tokens * matrices)));
  const mostTeams = Math.min(MOST_INVOCATIONS / lanes, powerBelow(MOST_OF_TEAMS / tokens));
  const least = Math.min(MOST_LANES / lanes, mostTeams);
  // With several tokens x is much to bring: then one workgroup for each multiprocessor does.
  const wanted = tokens > 1 ? workgroups / 2 : workgroups;
  let rowsHere = mostTeams * rowsAtOnce;
  while (rowsHere > least && Math.ceil(rows / rowsHere) < wanted) rowsHere /= 2;
  const teams = Math.min(mostTeams, rowsHere);
  return { lanes, teams, rowsOfTeam: rowsHere / teams, heldChunks, subgroups: subgroup >= lanes };
}

function powerBelow(value: number): number {
  return 2 ** Math.max(0, Math.floor(Math.log2(value)));
}

function powerAbove(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}
