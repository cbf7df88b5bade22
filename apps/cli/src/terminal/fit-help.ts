/** What stands between a term and its explanation. */
const gap = / {2,}/;

/**
 * Help as wide as the terminal: paragraphs are broken anew, and lines that are indented, such as examples, go on below where their
 * explanation begins.
 */
export function fitHelp(text: string, columns: number): string {
  const fitted: string[] = [];
  let paragraph: string[] = [];
  const end = () => {
    if (paragraph.length > 0) fitted.push(...wrap(paragraph.join(' '), columns, 0));
    paragraph = [];
  };
  for (const line of text.split('\n')) {
    const isProse = /^\S/.test(line);
    // A heading stands alone; so does the last line before one that is indented.
    if (isProse && !line.endsWith(':')) {
      paragraph.push(line);
      continue;
    }
    end();
    fitted.push(...(line.length > columns ? wrap(line, columns, hangingIndent(line, columns)) : [line]));
  }
  end();
  return fitted.join('\n');
}

/** Where the explanation begins, if there is room enough behind it; else a little further in than the line. */
function hangingIndent(line: string, columns: number): number {
  const start = line.search(/\S/);
  const found = gap.exec(line.slice(start));
  const explained = found ? start + found.index + found[0].length : start + 4;
  return explained <= columns / 2 ? explained : start + 4;
}

function wrap(line: string, columns: number, indent: number): string[] {
  const lines: string[] = [];
  for (let rest = line; ; ) {
    const from = lines.length === 0 ? 0 : indent;
    if (from + rest.length <= columns) return [...lines, ' '.repeat(from) + rest];
    const end = rest.lastIndexOf(' ', columns - from);
    // A word that is too long for a line gets one of its own.
    const cut = rest.slice(0, Math.max(0, end)).trim() === '' ? rest.indexOf(' ', rest.search(/\S/)) : end;
    if (cut === -1) return [...lines, ' '.repeat(from) + rest];
    lines.push(' '.repeat(from) + rest.slice(0, cut).trimEnd());
    rest = rest.slice(cut).trimStart();
  }
}
