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

/** TEMPORARY: what is tried on a card. */
export const fewTokensTuning = {
  /** Tokens of a workgroup at most. */
  mostTokens: 8,
  /** Rows that a team computes at once at most. */
  mostRows: 4,
  /** Running sums of an invocation, so that they stay in registers. */
  mostSums: 32,
  /** Invocations that a multiprocessor needs. */
  leastInvocations: 192,
  words: undefined as PieceWords | undefined,
  piecesAtOnce: 1,
  xAhead: true,
};

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
  /** Pieces of each of them that an invocation loads at once. */
  piecesAtOnce: number;
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
  const tuning = fewTokensTuning;
  const tokenGroups = Math.ceil(allTokens / tuning.mostTokens);
  const tokens = Math.ceil(allTokens / tokenGroups);
  const multiprocessors = workgroups / 2;

  const roomFor = (words: PieceWords) =>
    Math.floor((HELD_NUMBERS - taken) / (4 * piecesOfRow(format, columns, words).parts * tokens));
  const possible = ([4, 2, 1] as const).filter((words) => words >= leastPieceWords[format]);
  const pieceWords =
    (tokens > 1 && possible.includes(tuning.words as 1) ? tuning.words : undefined) ??
    possible.find((words) => roomFor(words) >= MOST_LANES) ??
    leastPieceWords[format];
  const { pieces, parts } = piecesOfRow(format, columns, pieceWords);
  const room = roomFor(pieceWords);
  const lanes = Math.min(MOST_LANES, powerAbove(pieces), powerBelow(room));
  const piecesAtOnce = Math.max(1, Math.min(tuning.piecesAtOnce, Math.floor(Math.min(room, pieces) / lanes)));
  const round = lanes * piecesAtOnce;
  const rounds = Math.ceil(pieces / round);
  const blocks = Math.ceil(rounds / Math.floor(room / round));
  const heldPieces = round * Math.ceil(rounds / blocks);

  let rowsOfTeam = Math.min(tuning.mostRows, powerBelow(tuning.mostSums / (tokens * matrices)));
  const least = multiprocessors * tuning.leastInvocations;
  while (rowsOfTeam > 1 && (tokenGroups * rows * lanes) / rowsOfTeam < least) rowsOfTeam /= 2;
  let teams = Math.min(MOST_INVOCATIONS / lanes, powerBelow(MOST_OF_TEAMS / tokens));
  const groups = () => tokenGroups * Math.ceil(rows / (teams * rowsOfTeam));
  while (teams * lanes > MOST_LANES && groups() < 0.75 * multiprocessors) teams /= 2;

  const plan = {
    ...{ tokens, tokenGroups, pieceWords, pieces, parts, lanes, teams, rowsOfTeam, piecesAtOnce, heldPieces },
    subgroups: subgroup >= lanes,
  };
  return { ...plan, loadsAhead: tuning.xAhead && blocks > 1 && loadsOfX(plan) <= MOST_AHEAD };
}

function powerBelow(value: number): number {
  return 2 ** Math.max(0, Math.floor(Math.log2(value)));
}

function powerAbove(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}
