import { markdownFooter } from '../lib/markdown-footer.mjs';

/** The table of a GPU's rows. */
export function gpuMarkdown({ title, rows, environment, notes }) {
  const text = (value, digits) => (value === undefined ? '' : value.toFixed(digits));
  const lines = rows.map((each) => {
    if (each.problem !== undefined) return `| ${each.name} | ${each.problem} | | | | |`;
    const { device, wall, host, recorded, stepByStep, bytesPerSecond, shareOfCopy } = each;
    const { tokensPerSecond, dispatchesPerStep, kvlrIsFaster, byCommand } = each;
    const more = [
      bytesPerSecond && `${text(bytesPerSecond / 1e9, 0)} GB/s`,
      byCommand && `by the device's own command ${text(byCommand / 1e9, 0)} GB/s`,
      shareOfCopy && `${text(100 * shareOfCopy, 0)} % of copying`,
      tokensPerSecond && `${text(tokensPerSecond, 1)} tokens/s`,
      dispatchesPerStep && `${dispatchesPerStep} dispatches`,
      host && `host ${text(host, 3)}`,
      kvlrIsFaster &&
        `kvlr ${text(kvlrIsFaster.median, 2)}x as fast (${text(kvlrIsFaster.lowest, 2)} to ${text(kvlrIsFaster.highest, 2)})`,
      recorded && `recorded ${text(recorded, 3)}, step by step ${text(stepByStep, 3)}`,
    ].filter(Boolean);
    return `| ${each.name} | ${text(device, 4)} | ${text(wall, 4)} | ${more.join(', ')} |`;
  });
  return [
    `# ${title}`,
    '',
    '| | device, ms | clock, ms | |',
    '| :-- | --: | --: | :-- |',
    ...lines,
    ...markdownFooter(environment, notes),
  ].join('\n');
}
