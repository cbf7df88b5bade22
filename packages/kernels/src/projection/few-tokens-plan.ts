import type { DeviceTraits } from '../webgpu/device-traits.ts';
import type { WeightFormat } from '../weights/pack-weights.ts';
import { leastPieceWords, type PieceWords, piecesOfRow } from '../weights/row-shaders.ts';

/** Numbers of x that workgroup memory holds at once: 12 of the 16 KiB that all devices have. */
const HELD_NUMBERS = 3072;
const MOST_INVOCATIONS = 256;
/** Neighbours that share a row at most, and a workgroup has at least: as many as run in step on most cards. */
const MOST_LANES = 32;
/** Numbers that a workgroup keeps of its teams, one for each token, of three kinds: squares, greatest results and their rows. */
const MOST_OF_TEAMS = 256;
/** Loads of x of an invocation that may be under way while it multiplies. */
const MOST_AHEAD = 4;

/** Tokens of a workgroup at most. */
const MOST_TOKENS = 16;
/** Rows that a team computes at once at most. */
const MOST_ROWS = 4;
/** Of more tokens than these the rows of a pair count double, so that all sums stay in registers. */
const TOKENS_OF_MOST_ROWS = 4;
/** Invocations that a multiprocessor needs. */
const LEAST_INVOCATIONS = 320;

export interface FewTokensCase {
  format: WeightFormat;
  /** Of the matrix, or of one shard of it. */
  rows: number;
  columns: number;
  tokens: number;
  /** 2 where the matrix has a pair, else 1. */
  matrices: number;
  /** Numbers of workgroup memory that are taken by something else; 0 by default. */
  taken?: number;
}

export interface FewTokensPlan {
  /** Tokens of a workgroup; others have workgroups of their own. */
  tokens: number;
  tokenGroups: number;
  /** Words of the matrix that an invocation loads at once. */
  pieceWords: PieceWords;
  /** Pieces of a row, and vec4s of columns in each. */
  pieces: number;
  parts: number;
  /** Neighbouring invocations that share rows: a team. A power of two. */
  lanes: number;
  teams: number;
  /** Rows that a team computes at once. */
  rowsOfTeam: number;
  /** Pieces whose columns of x are in workgroup memory at once: a whole number for each lane. */
  heldPieces: number;
  /** Whether the next columns of x are loaded while the held ones are multiplied. */
  loadsAhead: boolean;
  /** Whether a team lies in one subgroup. */
  subgroups: boolean;
}

/** Rows of a workgroup. */
export function rowsOfGroup({ teams, rowsOfTeam }: FewTokensPlan): number {
  return teams * rowsOfTeam;
}

/** Vec4s of x that an invocation brings into workgroup memory at once. */
export function loadsOfX({ tokens, parts, heldPieces, lanes, teams }: Omit<FewTokensPlan, 'loadsAhead'>): number {
  return Math.ceil((tokens * parts * heldPieces) / (lanes * teams));
}

/**
 * How a product with few tokens is divided. What bounds it is x, which every row needs for every token: so a lane multiplies what it
 * reads of x with as many rows as leave all multiprocessors lanes enough, and a workgroup has as many rows as leave each of them one.
 */
export function planFewTokens(
  { format, rows, columns, tokens: allTokens, matrices, taken = 0 }: FewTokensCase,
  { subgroup, workgroups }: DeviceTraits,
): FewTokensPlan {
  const tokenGroups = Math.ceil(allTokens / MOST_TOKENS);
  const tokens = Math.ceil(allTokens / tokenGroups);
  const multiprocessors = workgroups / 2;

  const roomFor = (words: PieceWords) =>
    Math.floor((HELD_NUMBERS - taken) / (4 * piecesOfRow(format, columns, words).parts * tokens));
  const possible = ([4, 2, 1] as const).filter((words) => words >= leastPieceWords[format]);
  const mostRows = tokens > TOKENS_OF_MOST_ROWS ? MOST_ROWS / matrices : MOST_ROWS;
  const groupsOf = (rowsOfGroup: number) => tokenGroups * Math.ceil(rows / rowsOfGroup);
  // Half the lanes share a row in larger pieces where every multiprocessor has a workgroup of twice as many rows, which halves what is read of x.
  const leastLanes =
    groupsOf((2 * MOST_INVOCATIONS * mostRows) / MOST_LANES) >= multiprocessors ? MOST_LANES / 2 : MOST_LANES;
  const pieceWords = possible.find((words) => roomFor(words) >= leastLanes) ?? leastPieceWords[format];
  const { pieces, parts } = piecesOfRow(format, columns, pieceWords);
  const room = roomFor(pieceWords);
  const lanes = Math.min(MOST_LANES, powerAbove(pieces), powerBelow(room));
  const rounds = Math.ceil(pieces / lanes);
  const blocks = Math.ceil(rounds / Math.floor(room / lanes));
  const heldPieces = lanes * Math.ceil(rounds / blocks);

  let rowsOfTeam = mostRows;
  const least = multiprocessors * LEAST_INVOCATIONS;
  while (rowsOfTeam > 1 && (tokenGroups * rows * lanes) / rowsOfTeam < least) rowsOfTeam /= 2;
  let teams = Math.min(MOST_INVOCATIONS / lanes, powerBelow(MOST_OF_TEAMS / tokens));
  while (teams * lanes > MOST_LANES && groupsOf(teams * rowsOfTeam) < 0.75 * multiprocessors) teams /= 2;

  const plan = {
    ...{ tokens, tokenGroups, pieceWords, pieces, parts, lanes, teams, rowsOfTeam, heldPieces },
    subgroups: subgroup >= lanes,
  };
  return { ...plan, loadsAhead: blocks > 1 && loadsOfX(plan) <= MOST_AHEAD };
}

function powerBelow(value: number): number {
  return 2 ** Math.max(0, Math.floor(Math.log2(value)));
}

function powerAbove(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}
