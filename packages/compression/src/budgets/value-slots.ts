/** The value slots of a layer: which heads share each, and how many numbers it holds. */
export interface ValueSlots {
  heads: number[][];
  width: number;
}

/**
 * Slots for `rank` numbers of values per token: the groups themselves while their slots are no wider than a head; for more,
 * every group in as few equal parts as hold them, heads ascending, as the query heads read them.
 *
 * @param rank Divisible by the number of slots that it takes; at most heads * headDim.
 */
export function valueSlotsOfRank(groups: readonly (readonly number[])[], rank: number, headDim: number): ValueSlots {
  const size = groups[0]!.length;
  let parts = 1;
  while (parts < size && (groups.length * parts * headDim < rank || size % parts !== 0)) parts++;
  const width = rank / (groups.length * parts);
  if (parts === 1) return { heads: groups.map((heads) => [...heads]), width };
  const heads = groups.flatMap((group) => {
    const ascending = [...group].sort((left, right) => left - right);
    return Array.from({ length: parts }, (_, part) =>
      ascending.slice((part * size) / parts, ((part + 1) * size) / parts),
    );
  });
  return { heads, width };
}
