/**
 * Text in lines of at most `limit` characters, broken at spaces. At most `maxLines` of them: what does not fit ends in
 * an ellipsis, and so does a word longer than a line where lines are counted.
 */
export function wrapText(text: string, limit: number, maxLines = Number.POSITIVE_INFINITY): string[] {
  const lines: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= limit) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  if (!Number.isFinite(maxLines)) return lines;
  return lines.slice(0, maxLines).map((line, index) => {
    const cut = index === maxLines - 1 && lines.length > maxLines;
    return line.length > limit || cut ? `${line.slice(0, limit - 1)}…` : line;
  });
}
