const mantissas = [
  [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9],
  [1, 1.5, 2, 3, 4, 5, 7],
  [1, 2, 5],
  [1],
];

/** Round values inside [low, high] for a logarithmic axis, the densest set that has at most `maxCount` members. */
export function logarithmicTicks(low: number, high: number, maxCount: number): number[] {
  const firstDecade = Math.floor(Math.log10(low));
  const lastDecade = Math.ceil(Math.log10(high));
  for (const set of mantissas) {
    const ticks: number[] = [];
    for (let decade = firstDecade; decade <= lastDecade; decade++) {
      for (const mantissa of set) {
        const tick = Number((mantissa * 10 ** decade).toPrecision(6));
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    if (ticks.length <= maxCount) return ticks;
  }
  const every = Math.ceil((lastDecade - firstDecade + 1) / maxCount);
  const decades: number[] = [];
  for (let decade = lastDecade; decade >= firstDecade; decade -= every) {
    const tick = Number(`1e${decade}`);
    if (tick >= low && tick <= high) decades.unshift(tick);
  }
  return decades;
}
